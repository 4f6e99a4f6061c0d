package kubectltest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// deployment is a manifest of the embedded image; spec is indented YAML for the Deployment's spec.
func deployment(name string, replicas int, spec string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
%[3]s
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: demo, image: peapod/demo, env: [{name: V, value: "1"}]}
`, name, replicas, spec)
}

// watchPods looks at every change of the pods of a selector until stop is called, which returns the most
// pods not yet ended and the fewest that were ready.
func watchPods(t *testing.T, l *kit.Lab, namespace, selector string) (stop func() (most, fewestReady int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	api := l.Client(t, "").CoreV1().Pods(namespace)
	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	w, err := api.Watch(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	ready, live := map[string]bool{}, map[string]bool{}
	for _, p := range list.Items {
		ready[p.Name], live[p.Name] = kit.PodReady(&p), true
	}
	most, fewest := len(live), len(ready)
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for e := range w.ResultChan() {
			p, ok := asPod(e.Object)
			if !ok {
				continue
			}
			delete(live, p.Name)
			delete(ready, p.Name)
			if e.Type != "DELETED" && p.DeletionTimestamp == nil {
				live[p.Name] = true
				if kit.PodReady(p) {
					ready[p.Name] = true
				}
			}
			most, fewest = max(most, len(live)), min(fewest, len(ready))
		}
	}()
	return func() (int, int) {
		w.Stop()
		cancel()
		done.Wait()
		return most, fewest
	}
}

// TestRollingUpdateKeepsItsLimits: AP016.
func TestRollingUpdateKeepsItsLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, surge, unavailable string
		most, fewest             int
	}{
		{"surge", "1", "0", 5, 4},
		{"shrink", "0", "2", 4, 2},
		{"percent", "50%", "25%", 6, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, k := space(t)
			spec := fmt.Sprintf("  strategy: {rollingUpdate: {maxSurge: %s, maxUnavailable: %s}}", c.surge, c.unavailable)
			k.In(deployment("web", 4, spec)).Must(t, "apply", "-f", "-")
			l.ReadyPods(t, k.Namespace, "app=web", 4, limit)
			stop := watchPods(t, l, k.Namespace, "app=web")
			k.Want(t, "deployment.apps/web restarted", "rollout", "restart", "deploy/web")
			k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s")
			l.ReadyPods(t, k.Namespace, "app=web", 4, limit)
			most, fewest := stop()
			if most > c.most || fewest < c.fewest {
				t.Errorf("at most %d pods and at least %d ready, want %d and %d", most, fewest, c.most, c.fewest)
			}
			if c.surge != "0" && most <= 4 {
				t.Errorf("never more than %d pods: the surge is not used", most)
			}
		})
	}
}

// TestRecreate: AP015.
func TestRecreate(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.In(deployment("web", 3, "  strategy: {type: Recreate}")).Must(t, "apply", "-f", "-")
	l.ReadyPods(t, k.Namespace, "app=web", 3, limit)
	// Every change of every pod, in the order in which it was committed.
	c := lines(t, k, "get", "pods", "-l", "app=web", "-w", "--output-watch-events", "--no-headers", "-o",
		"custom-columns=T:.type,N:.object.metadata.name,P:.object.status.phase")
	for range 3 {
		awaitLine(t, c, "ADDED")
	}
	k.Want(t, "deployment.apps/web env updated", "set", "env", "deploy/web", "V=2")
	k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s")
	ended, added := map[string]bool{}, 0
	for added < 3 {
		f := strings.Fields(<-c) // type, name, phase
		switch {
		case len(f) != 3:
			t.Fatalf("the watch ended, or said %q", f)
		case f[0] == "ADDED":
			added++
			if len(ended) < 3 {
				t.Fatalf("a new pod is there after %d of 3 old ones have ended", len(ended))
			}
		case f[0] == "DELETED" || f[2] == "Failed" || f[2] == "Succeeded":
			ended[f[1]] = true
		}
	}
	l.ReadyPods(t, k.Namespace, "app=web", 3, limit)
}

// TestPauseAndHistory: AP017 beside pauses.
func TestPauseAndHistory(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.In(deployment("web", 1, "  revisionHistoryLimit: 2")).Must(t, "apply", "-f", "-")
	l.ReadyPods(t, k.Namespace, "app=web", 1, limit)
	k.Want(t, "deployment.apps/web paused", "rollout", "pause", "deploy/web")
	k.Must(t, "set", "env", "deploy/web", "V=2")
	k.Must(t, "set", "env", "deploy/web", "V=3")
	kit.WantMatch(t, k.Fail(t, "rollout", "undo", "deploy/web", "--to-revision=1"), `cannot rollback a paused deployment; resume it first`)
	kit.Consistently(t, time.Second, "paused", func() error {
		if rs := k.Must(t, "get", "rs", "-o", "name"); strings.Count(rs, "\n") != 1 {
			return fmt.Errorf("a paused deployment has %s", rs)
		}
		return nil
	})
	k.Want(t, "deployment.apps/web scaled", "scale", "deploy/web", "--replicas=2")
	l.ReadyPods(t, k.Namespace, "app=web", 2, limit)
	k.Want(t, "deployment.apps/web resumed", "rollout", "resume", "deploy/web")
	k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s")
	k.Want(t, "2", "get", "deploy", "web", "-o", `jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}`)
	for _, v := range []string{"4", "5", "6"} {
		k.Must(t, "set", "env", "deploy/web", "V="+v)
		k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s")
	}
	kit.Eventually(t, limit, "old replica sets go", func() error {
		if n := strings.Count(k.Must(t, "get", "rs", "-o", "name"), "\n"); n != 3 {
			return fmt.Errorf("%d replica sets, want the new one and 2 old ones", n)
		}
		return nil
	})
	k.Want(t, "deployment.apps/web rolled back", "rollout", "undo", "deploy/web", "--to-revision=3")
	k.Must(t, "rollout", "status", "deploy/web", "--timeout=30s")
	k.Want(t, "4", "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[0].value}")
	kit.WantMatch(t, k.Fail(t, "rollout", "undo", "deploy/web", "--to-revision=77"), `unable to find specified revision 77 in history`)
}

func TestProgressDeadline(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(strings.Replace(deployment("web", 1, "  progressDeadlineSeconds: 3"), "peapod/demo", "gcr.io/none/none:1", 1)).Must(t, "apply", "-f", "-")
	r := k.Try("rollout", "status", "deploy/web", "--timeout=30s")
	kit.WantMatch(t, r.Out, `Waiting for deployment "web" rollout to finish: 0 of 1 updated replicas are available\.\.\.`)
	kit.WantMatch(t, r.Err, `^error: deployment "web" exceeded its progress deadline$`)
	if r.Code != 1 {
		t.Errorf("exit code %d", r.Code)
	}
	kit.WantMatch(t, k.Must(t, "describe", "deploy", "web"), `Progressing +False +ProgressDeadlineExceeded`)
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	for _, policy := range []string{"background", "foreground", "orphan"} {
		k.In(deployment(policy, 2, "")).Must(t, "apply", "-f", "-")
	}
	for _, policy := range []string{"background", "foreground", "orphan"} {
		l.ReadyPods(t, k.Namespace, "app="+policy, 2, limit)
		k.Want(t, `deployment.apps "`+policy+`" deleted from `+k.Namespace+` namespace`, "delete", "deploy", policy, "--cascade="+policy)
		if policy == "foreground" {
			if out := k.Must(t, "get", "rs,pods", "-l", "app=foreground", "-o", "name"); out != "" {
				t.Errorf("after a deletion in the foreground there is %s", out)
			}
		}
	}
	kit.Eventually(t, limit, "what was owned goes", func() error {
		if out := k.Must(t, "get", "rs,pods", "-l", "app=background", "-o", "name"); out != "" {
			return fmt.Errorf("there is %s", out)
		}
		return nil
	})
	l.ReadyPods(t, k.Namespace, "app=orphan", 2, limit)
	k.Want(t, "", "get", "rs", "-l", "app=orphan", "-o", "jsonpath={.items[*].metadata.ownerReferences}")
	// A new deployment with the same selector takes the orphans over.
	k.In(deployment("orphan", 2, "")).Must(t, "apply", "-f", "-")
	kit.Eventually(t, limit, "adoption", func() error {
		return kit.Matches(k.Must(t, "get", "rs", "-l", "app=orphan", "-o", "jsonpath={.items[*].metadata.ownerReferences[*].kind}"), `^Deployment$`)
	})
}
