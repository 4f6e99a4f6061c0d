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

// Each pod writes the time and its name into one file of this machine, so one clock says who ran when.
const manifest = `
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
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: writer
        image: peapod/demo
        command: [sh, -c, 'while :; do echo $(date +%s.%N) $HOSTNAME >> /data/log; sleep 0.02; done']
        volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`

// writer is a Deployment of one pod with a claim of one writer.
type writer struct {
	t   *testing.T
	lab *kit.Lab
	ns  string
	log string
	old corev1.Pod
}

func start(t *testing.T) *writer {
	lab := kit.Shared(t)
	w := &writer{t: t, lab: lab, ns: lab.MakeNamespace(t)}
	dir, err := os.MkdirTemp("", "fencing-")
	if err != nil {
		t.Fatal(err)
	}
	w.log = filepath.Join(dir, "log")
	t.Cleanup(func() {
		lab.Kubectl(w.ns).Must(t, "delete", "deployment", "db", "--cascade=foreground")
		lab.Kubectl("").Must(t, "delete", "pv", w.ns, "--wait=false")
		if err := os.RemoveAll(dir); err != nil { // nobody writes into it any more
			t.Error(err)
		}
	})
	lab.Kubectl(w.ns).In(strings.NewReplacer("NS", w.ns, "DIR", dir).Replace(manifest)).Must(t, "apply", "-f", "-")
	w.old = lab.ReadyPods(t, w.ns, "app=db", 1, limit)[0]
	return w
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
func (w *writer) span(pod string) (first, last float64, err error) {
	f, err := os.Open(w.log)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		at, who, _ := strings.Cut(lines.Text(), " ")
		if who != pod {
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
		return 0, 0, errors.New(pod + " has written nothing")
	}
	return first, last, nil
}

// apart fails the test unless the old pod had ended before the new one began.
func (w *writer) apart(now corev1.Pod) {
	w.t.Helper()
	var began float64
	kit.Eventually(w.t, limit, "the replacement to write", func() (err error) {
		began, _, err = w.span(now.Name)
		return err
	})
	_, ended, err := w.span(w.old.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	if ended >= began {
		w.t.Errorf("%s wrote %.3f s after %s had begun", w.old.Name, ended-began, now.Name)
	}
	w.t.Logf("%s ended %.3f s before %s began", w.old.Name, began-ended, now.Name)
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
		began, _, err := w.span(now.Name)
		if err != nil {
			return err
		}
		if _, ended, err := w.span(w.old.Name); w.old.UID != now.UID && (err != nil || ended >= began) {
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

// A node without a network stops the pod itself. Invariant 86.
func TestCutOff(t *testing.T) {
	w := start(t)
	w.lab.Do(t, "cut", w.old.Spec.NodeName)
	now := w.replaced()
	w.apart(now)
	w.lab.Do(t, "heal", w.old.Spec.NodeName)
	w.settled(now)
	kit.Eventually(t, limit, "the node says what it did", func() error {
		return kit.Matches(w.lab.Kubectl("default").Must(t, "get", "events"), `Fenced +node/`+w.old.Spec.NodeName+` .*heard of no leader for 8s`)
	})
	kit.WantMatch(t, w.lab.Kubectl(w.ns).Must(t, "get", "events"), `Fenced +pod/`+w.old.Name+` +Removing the pod from node`)
}

// An agent that hangs can stop nothing: the supervisor does. Invariant 86.
func TestAgentHangs(t *testing.T) {
	w := start(t)
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
	w := start(t)
	w.lab.Do(t, "cut", w.old.Spec.NodeName)
	w.signal(w.agent(), syscall.SIGKILL)
	now := w.replaced()
	w.apart(now)
	w.lab.Do(t, "heal", w.old.Spec.NodeName)
	w.settled(now)
}

// A link that is gone for less than the fencing time costs the pod nothing.
func TestShortCut(t *testing.T) {
	w := start(t)
	w.lab.Do(t, "cut", w.old.Spec.NodeName)
	time.Sleep(3 * time.Second)
	w.lab.Do(t, "heal", w.old.Spec.NodeName)
	w.settled(w.old)
}
