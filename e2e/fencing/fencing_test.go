package fencing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/agent/supervisor"
	"github.com/peapod-sh/peapod/e2e/kit"
)

// limit is long for a fencing time of 8 s and its margin of 2 s, on a machine that is busy.
const limit = 40 * time.Second

func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "fencetest", Clients: 2}) }

// Each pod writes the time and its UID into one file of this machine, so one clock says who ran when.
const podTemplate = `
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: writer
        image: peapod/demo
        command: [sh, -c, 'while :; do echo $(date +%s.%N) $SELF >> /data/log; sleep 0.02; done']
        env: [{name: SELF, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}]
        volumeMounts: [{name: data, mountPath: /data}]
`

// deployment must not run twice for its claim.
const deployment = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: NS}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  hostPath: {path: DIR}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: NS
  resources: {requests: {storage: 1Gi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db}
spec:
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:` + podTemplate + `
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`

// set must not run twice for its pod's name.
const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:` + podTemplate + `
      volumes: [{name: data, hostPath: {path: DIR}}]
`

// writer is one pod that must not run twice.
type writer struct {
	t   *testing.T
	lab *kit.Lab
	ns  string
	log string
	old corev1.Pod
}

func start(t *testing.T, manifest string) *writer {
	lab := kit.Shared(t)
	w := &writer{t: t, lab: lab, ns: lab.MakeNamespace(t)}
	dir, err := os.MkdirTemp("", "fencing-")
	if err != nil {
		t.Fatal(err)
	}
	w.log = filepath.Join(dir, "log")
	t.Cleanup(func() {
		lab.Kubectl(w.ns).Must(t, "delete", "deployment,statefulset", "--all", "--cascade=foreground")
		lab.Kubectl("").Must(t, "delete", "pv", w.ns, "--wait=false", "--ignore-not-found")
		if err := os.RemoveAll(dir); err != nil { // nobody writes into it any more
			t.Error(err)
		}
	})
	lab.Kubectl(w.ns).In(strings.NewReplacer("NS", w.ns, "DIR", dir).Replace(manifest)).Must(t, "apply", "-f", "-")
	w.old = lab.ReadyPods(t, w.ns, "app=db", 1, limit)[0]
	return w
}

// startOn starts one on the node, which alone takes pods meanwhile.
func startOn(t *testing.T, node, manifest string) *writer {
	lab := kit.Shared(t)
	for _, n := range lab.Nodes {
		if n.Role == "client" && n.Name != node {
			lab.Kubectl("").Must(t, "cordon", n.Name)
			defer lab.Kubectl("").Must(t, "uncordon", n.Name)
		}
	}
	return start(t, manifest)
}

// replaced waits for a ready pod on the other node.
func (w *writer) replaced() corev1.Pod {
	w.t.Helper()
	var now corev1.Pod
	pods := w.lab.Client(w.t, "").CoreV1().Pods(w.ns)
	kit.Eventually(w.t, limit, "the replacement", func() error {
		list, err := pods.List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.UID != w.old.UID && p.Spec.NodeName != w.old.Spec.NodeName && kit.PodReady(&p) {
				now = p
				return nil
			}
		}
		return fmt.Errorf("%d pods, none of them it", len(list.Items))
	})
	return now
}

// span is when a pod wrote first and last, in seconds since 1970.
func (w *writer) span(pod corev1.Pod) (first, last float64, err error) {
	f, err := os.Open(w.log)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		at, who, _ := strings.Cut(lines.Text(), " ")
		if who != string(pod.UID) {
			continue
		}
		if last, err = strconv.ParseFloat(at, 64); err != nil {
			return 0, 0, err
		}
		if first == 0 {
			first = last
		}
	}
	if first == 0 {
		return 0, 0, fmt.Errorf("%s (%s) has written nothing", pod.Name, pod.UID)
	}
	return first, last, nil
}

// apart fails the test unless the old pod had ended before the new one began.
func (w *writer) apart(now corev1.Pod) {
	w.t.Helper()
	var began float64
	kit.Eventually(w.t, limit, "the replacement to write", func() (err error) {
		began, _, err = w.span(now)
		return err
	})
	_, ended, err := w.span(w.old)
	if err != nil {
		w.t.Fatal(err)
	}
	if ended >= began {
		w.t.Errorf("%s on %s wrote %.3f s after %s on %s had begun", w.old.Name, w.old.Spec.NodeName, ended-began, now.Name, now.Spec.NodeName)
	}
	w.t.Logf("%s on %s ended %.3f s before %s on %s began", w.old.Name, w.old.Spec.NodeName, began-ended, now.Name, now.Spec.NodeName)
}

// settled waits until the node is back and nothing of the old pod is.
func (w *writer) settled(now corev1.Pod) {
	w.t.Helper()
	nodes := w.lab.Client(w.t, "").CoreV1().Nodes()
	kit.Eventually(w.t, limit, w.old.Spec.NodeName+" to be back", func() error {
		n, err := nodes.Get(context.Background(), w.old.Spec.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New("not ready")
	})
	kit.Consistently(w.t, time.Second, "the old pod stays away", func() error {
		began, _, err := w.span(now)
		if err != nil {
			return err
		}
		if _, ended, err := w.span(w.old); w.old.UID != now.UID && (err != nil || ended >= began) {
			return fmt.Errorf("it wrote at %.3f, its replacement began at %.3f (%v)", ended, began, err)
		}
		return nil
	})
	pod := w.lab.ReadyPods(w.t, w.ns, "app=db", 1, limit)[0]
	if pod.UID != now.UID || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		w.t.Errorf("in the end there is %s with %d restarts", pod.Name, pod.Status.ContainerStatuses[0].RestartCount)
	}
}

// agent is the process ID of a node's agent.
func (w *writer) agent() int {
	w.t.Helper()
	c, err := supervisor.Dial(filepath.Join(w.lab.Node(w.t, w.old.Spec.NodeName).Dir, "data", "supervisor"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	h, err := c.Hello()
	if err != nil || h.AgentPID == 0 {
		w.t.Fatalf("no agent: %+v, %v", h, err)
	}
	return h.AgentPID
}

func (w *writer) signal(pid int, sig syscall.Signal) {
	w.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		w.t.Fatal(err)
	}
}

// A node without a network stops its pods itself. One of a StatefulSet comes again under its name, without a person's word that the old one has ended.
// Invariant 86.
func TestCutOff(t *testing.T) {
	w := start(t, deployment)
	node := w.old.Spec.NodeName
	member := startOn(t, node, set)
	w.lab.Do(t, "cut", node)
	now, next := w.replaced(), member.replaced()
	if next.Name != member.old.Name {
		t.Errorf("%s was replaced by %s", member.old.Name, next.Name)
	}
	w.apart(now)
	member.apart(next)
	w.lab.Do(t, "heal", node)
	w.settled(now)
	member.settled(next)
	kit.Eventually(t, limit, "the node says what it did", func() error {
		return kit.Matches(w.lab.Kubectl("default").Must(t, "get", "events"), `Fenced +node/`+node+` .*heard of no leader for 8s`)
	})
	kit.WantMatch(t, w.lab.Kubectl(w.ns).Must(t, "get", "events"), `Fenced +pod/`+w.old.Name+` +Removing the pod from node`)
}

// A user deletes a pod that takes its time to end: its replacement uses the claim where it is in use, or waits. Invariant 35.
func TestClaimStaysOnOneNode(t *testing.T) {
	w := start(t, deployment)
	k := w.lab.Kubectl(w.ns)
	k.Must(t, "patch", "deployment", "db", "--type=strategic", "-p",
		`{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3, "containers": [{"name": "writer", "command": ["sh", "-c", "trap : TERM; while :; do echo $(date +%s.%N) $SELF >> /data/log; sleep 0.02; done"]}]}}}}`)
	k.Must(t, "rollout", "status", "deployment/db", "--timeout=60s")
	kit.Eventually(t, limit, "only the new pod is left", func() error {
		if out := k.Must(t, "get", "pods", "-o", "name"); strings.Count(out, "pod/") != 1 {
			return errors.New(out)
		}
		return nil
	})
	old := w.lab.ReadyPods(t, w.ns, "app=db", 1, limit)[0]
	if old.Spec.NodeName != w.old.Spec.NodeName {
		t.Errorf("a rolling update moved the claim's user from %s to %s", w.old.Spec.NodeName, old.Spec.NodeName)
	}
	k.Must(t, "cordon", old.Spec.NodeName)
	t.Cleanup(func() { k.Must(t, "uncordon", old.Spec.NodeName) })
	k.Must(t, "delete", "pod", old.Name, "--wait=false")
	w.old = old
	now := w.replaced() // on the other node
	w.apart(now)
}

// An agent that hangs can stop nothing: the supervisor does. Invariant 86.
func TestAgentHangs(t *testing.T) {
	w := start(t, deployment)
	pid := w.agent()
	w.signal(pid, syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	now := w.replaced()
	w.apart(now)
	w.signal(pid, syscall.SIGCONT)
	w.settled(now)
}

// An agent that is killed behind a cut link is started again and finds no leader. Invariant 86.
func TestAgentDiesCutOff(t *testing.T) {
	w := start(t, deployment)
	w.lab.Do(t, "cut", w.old.Spec.NodeName)
	w.signal(w.agent(), syscall.SIGKILL)
	now := w.replaced()
	w.apart(now)
	w.lab.Do(t, "heal", w.old.Spec.NodeName)
	w.settled(now)
}

// A link that is gone for less than the fencing time costs the pod nothing.
func TestShortCut(t *testing.T) {
	w := start(t, deployment)
	w.lab.Do(t, "cut", w.old.Spec.NodeName)
	time.Sleep(3 * time.Second)
	w.lab.Do(t, "heal", w.old.Spec.NodeName)
	w.settled(w.old)
}
