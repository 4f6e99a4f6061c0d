package apptest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// statefulSet is a manifest of the embedded image; spec is indented YAML for the StatefulSet's spec.
func statefulSet(name string, replicas int, spec string) string {
	mounts := ""
	if strings.Contains(spec, "volumeClaimTemplates") {
		mounts = "        volumeMounts: [{name: data, mountPath: /data}]"
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {clusterIP: None, selector: {app: %[1]s}, ports: [{port: 8080, name: http}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  serviceName: %[1]s
  selector: {matchLabels: {app: %[1]s}}
%[3]s
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: demo
        image: peapod/demo
        env: [{name: V, value: "1"}]
        readinessProbe: {exec: {command: [sh, -c, "test ! -e /tmp/sick"]}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 60}
%[4]s
`, name, replicas, spec, mounts)
}

const claims = `  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
`

// values are what jsonpath finds, a word each, in order of names.
func values(t *testing.T, k kit.Kubectl, what, path string) []string {
	t.Helper()
	out := strings.Fields(k.Must(t, "get", what, "-o", "jsonpath={range .items[*]}"+path+"{\"\\n\"}{end}"))
	slices.Sort(out)
	return out
}

// become waits until the values are those.
func become(t *testing.T, k kit.Kubectl, what, path string, want ...string) {
	t.Helper()
	kit.Eventually(t, limit, what+" become "+strings.Join(want, " "), func() error {
		if got := values(t, k, what, path); !slices.Equal(got, want) {
			return fmt.Errorf("they are %v", got)
		}
		return nil
	})
}

const (
	names = "{.metadata.name}"
	image = "{.metadata.name}={.spec.containers[0].env[0].value}"
)

// TestStatefulSetInOrder: AP054, AP056. Pods come one after the other, keep names and claims, and an unwell one holds the others up.
func TestStatefulSetInOrder(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, err := l.Client(t, "").CoreV1().Pods(k.Namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k.In(statefulSet("db", 3, claims)).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	var order []string
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		if e.Type == "ADDED" {
			order = append(order, p.Name)
		}
		if kit.PodReady(p) && !slices.Contains(order, p.Name+" ready") {
			order = append(order, p.Name+" ready")
		}
		if len(order) == 6 {
			break
		}
	}
	if want := []string{"db-0", "db-0 ready", "db-1", "db-1 ready", "db-2", "db-2 ready"}; !slices.Equal(order, want) {
		t.Errorf("the pods came as %v", order)
	}
	if got := strings.TrimSpace(k.Must(t, "exec", "db-1", "--", "hostname")); got != "db-1" {
		t.Errorf("db-1 is called %q", got)
	}
	kit.Eventually(t, limit, "a pod finds its neighbour by name", func() error {
		if r := k.Try("exec", "db-0", "--", "nslookup", "db-1.db"); r.Code != 0 {
			return fmt.Errorf("%s%s", r.Out, r.Err)
		}
		return nil
	})
	k.Must(t, "exec", "db-1", "--", "sh", "-c", "echo kept >/data/x; touch /tmp/sick")
	k.Must(t, "wait", "--for=condition=Ready=false", "pod/db-1", "--timeout=60s")
	k.Must(t, "scale", "sts/db", "--replicas=4")
	kit.Consistently(t, 2*time.Second, "nothing comes while db-1 is unwell", func() error {
		if got := values(t, k, "pods", names); len(got) != 3 {
			return fmt.Errorf("there are %v", got)
		}
		return nil
	})
	k.Must(t, "exec", "db-1", "--", "rm", "/tmp/sick")
	become(t, k, "pods", names, "db-0", "db-1", "db-2", "db-3")
	k.Must(t, "scale", "sts/db", "--replicas=1")
	become(t, k, "pods", names, "db-0")
	become(t, k, "pvc", names, "data-db-0", "data-db-1", "data-db-2", "data-db-3")
	k.Must(t, "scale", "sts/db", "--replicas=2")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	if got := strings.TrimSpace(k.Must(t, "exec", "db-1", "--", "cat", "/data/x")); got != "kept" {
		t.Errorf("db-1 finds %q in its volume", got)
	}
}

// TestStatefulSetUpdates: AP058, AP059. A partition holds an update back, undo goes back, and both say so.
func TestStatefulSetUpdates(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(statefulSet("db", 3, "  updateStrategy: {rollingUpdate: {partition: 2}}")).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	k.Must(t, "set", "env", "sts/db", "V=2")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	become(t, k, "pods", image, "db-0=1", "db-1=1", "db-2=2")
	k.Must(t, "delete", "pod", "db-0")
	become(t, k, "pods", image+"={.status.phase}", "db-0=1=Running", "db-1=1=Running", "db-2=2=Running")
	k.Must(t, "patch", "sts/db", "-p", `{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}`)
	become(t, k, "pods", image, "db-0=2", "db-1=2", "db-2=2")
	kit.Eventually(t, limit, "the update is complete", func() error {
		s := strings.Fields(k.Must(t, "get", "sts/db", "-o", "jsonpath={.status.currentRevision} {.status.updateRevision} {.status.updatedReplicas}"))
		if len(s) != 3 || s[0] != s[1] || s[2] != "3" {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	k.Want(t, "statefulset.apps/db \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>", "rollout", "history", "sts/db")
	kit.WantMatch(t, k.Must(t, "rollout", "history", "sts/db", "--revision=1"), `V:\s+1`)
	k.Must(t, "rollout", "undo", "sts/db")
	become(t, k, "pods", image, "db-0=1", "db-1=1", "db-2=1")
	k.Want(t, "statefulset.apps/db \nREVISION  CHANGE-CAUSE\n2         <none>\n3         <none>", "rollout", "history", "sts/db")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	kit.WantMatch(t, k.Try("rollout", "undo", "sts/db", "--to-revision=3").Out, `skipped rollback \(current template already matches revision 3\)`)
}

// TestParallelStatefulSet: AP053, AP055. All pods come at once, and one that has been evicted comes again under its name.
func TestParallelStatefulSet(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.In(statefulSet("db", 3, "  podManagementPolicy: Parallel")).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	k.Must(t, "exec", "db-1", "--", "touch", "/tmp/sick")
	k.Must(t, "wait", "--for=condition=Ready=false", "pod/db-1", "--timeout=60s")
	k.Must(t, "scale", "sts/db", "--replicas=5")
	become(t, k, "pods", names, "db-0", "db-1", "db-2", "db-3", "db-4")
	api := l.Client(t, "").CoreV1().Pods(k.Namespace)
	p, err := api.Get(context.Background(), "db-2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old := p.UID
	k.Must(t, "patch", "pod", "db-2", "--subresource=status", "-p", `{"status":{"phase":"Failed","reason":"Evicted"}}`)
	kit.Eventually(t, limit, "db-2 comes again", func() error {
		p, err := api.Get(context.Background(), "db-2", metav1.GetOptions{})
		if err != nil || p.UID == old || !kit.PodReady(p) {
			return fmt.Errorf("%v, the same pod: %v", err, p != nil && p.UID == old)
		}
		return nil
	})
	k.Must(t, "scale", "sts/db", "--replicas=1")
	become(t, k, "pods", names, "db-0")
}

// Claims go when their set says so, and with its pods otherwise stay; a set that is deleted with its pods orphaned takes them back.
func TestClaimsOfAStatefulSet(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	manifest := statefulSet("db", 2, claims+"  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Delete}")
	k.In(manifest).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	k.Must(t, "scale", "sts/db", "--replicas=1")
	become(t, k, "pvc", names, "data-db-0")
	uid := values(t, k, "pods", "{.metadata.uid}")
	k.Must(t, "delete", "sts", "db", "--cascade=orphan")
	become(t, k, "pods", "{.metadata.name}={.metadata.ownerReferences}", "db-0=")
	k.In(strings.Replace(manifest, "whenDeleted: Delete", "whenDeleted: Retain", 1)).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	if got := values(t, k, "pods", "{.metadata.uid}"); !slices.Contains(got, uid[0]) {
		t.Errorf("the orphan %v was not adopted: %v", uid, got)
	}
	k.Must(t, "delete", "sts", "db", "--cascade=foreground")
	become(t, k, "pods", names)
	become(t, k, "pvc", names, "data-db-0", "data-db-1")
	k.In(manifest).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "sts/db", "--timeout=60s")
	become(t, k, "pvc", "{.metadata.name}={.metadata.ownerReferences[0].kind}", "data-db-0=StatefulSet", "data-db-1=StatefulSet")
	k.Must(t, "delete", "sts", "db")
	become(t, k, "pvc", names)
}
