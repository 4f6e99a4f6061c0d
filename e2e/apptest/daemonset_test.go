package apptest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// daemonSet is a manifest of the embedded image; spec and pod are indented YAML for the specs of the DaemonSet and of its pods.
func daemonSet(name, spec, pod string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: DaemonSet
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
%[2]s
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
%[3]s
      terminationGracePeriodSeconds: 1
      containers:
      - {name: demo, image: peapod/demo, env: [{name: V, value: "1"}]}
`, name, spec, pod)
}

const onNode = "{.spec.nodeName}={.spec.containers[0].env[0].value}"

// TestDaemonSetOnEveryNode: AP008, AP011. One pod a node, which says so; what is deleted or has failed is replaced.
func TestDaemonSetOnEveryNode(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(daemonSet("log", "", "")).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "ds/log", "--timeout=60s")
	become(t, k, "pods", onNode, "client1=1", "client2=1", "client3=1")
	become(t, k, "pods", "{.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values[0]}",
		"client1", "client2", "client3")
	k.Want(t, "3 3 3 3 3", "get", "ds/log", "-o",
		"jsonpath={.status.desiredNumberScheduled} {.status.currentNumberScheduled} {.status.numberReady} {.status.updatedNumberScheduled} {.status.numberAvailable}")
	old := values(t, k, "pods", "{.metadata.uid}")
	pods := values(t, k, "pods", names)
	k.Must(t, "delete", "pod", pods[0])
	k.Must(t, "patch", "pod", pods[1], "--subresource=status", "-p", `{"status":{"phase":"Failed"}}`)
	kit.Eventually(t, limit, "two pods are replaced", func() error {
		now := values(t, k, "pods", "{.metadata.uid}={.status.phase}")
		running, same := 0, 0
		for _, p := range now {
			uid, phase, _ := strings.Cut(p, "=")
			if phase == "Running" {
				running++
			}
			if slices.Contains(old, uid) {
				same++
			}
		}
		if running != 3 || same != 1 || len(now) != 3 {
			return fmt.Errorf("pods are %v", now)
		}
		return nil
	})
	become(t, k, "pods", onNode, "client1=1", "client2=1", "client3=1")
}

// TestDaemonSetFollowsLabels: AP010.
func TestDaemonSetFollowsLabels(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	label := "disk-" + k.Namespace
	k.In(daemonSet("log", "", "      nodeSelector: {"+label+": ssd}")).Must(t, "apply", "-f", "-")
	k.Must(t, "rollout", "status", "ds/log", "--timeout=60s")
	become(t, k, "pods", onNode)
	k.Must(t, "label", "node", "client1", "client2", label+"=ssd")
	t.Cleanup(func() { k.Must(t, "label", "node", "client1", "client2", "client3", label+"-") })
	become(t, k, "pods", onNode, "client1=1", "client2=1")
	k.Must(t, "label", "--overwrite", "node", "client1", label+"=disk")
	become(t, k, "pods", onNode, "client2=1")
}

// TestDaemonSetUpdates: AP009, AP012. Both strategies bring every node up to date, and undo restarts no pod that is right already.
func TestDaemonSetUpdates(t *testing.T) {
	t.Parallel()
	for name, strategy := range map[string]string{"shrink": "maxUnavailable: 1", "surge": "maxSurge: 1, maxUnavailable: 0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, k := space(t)
			k.In(daemonSet("log", "  updateStrategy: {rollingUpdate: {"+strategy+"}}", "")).Must(t, "apply", "-f", "-")
			k.Must(t, "rollout", "status", "ds/log", "--timeout=60s")
			k.Must(t, "set", "env", "ds/log", "V=2")
			k.Must(t, "rollout", "status", "ds/log", "--timeout=60s")
			become(t, k, "pods", onNode, "client1=2", "client2=2", "client3=2")
			before := values(t, k, "pods", "{.metadata.uid}")
			k.Must(t, "set", "image", "ds/log", "demo=localhost:1/nothing:here")
			kit.Eventually(t, limit, "the update is stuck", func() error {
				if got := values(t, k, "pods", "{.spec.containers[0].image}"); !slices.Contains(got, "localhost:1/nothing:here") {
					return fmt.Errorf("images are %v", got)
				}
				return nil
			})
			k.Want(t, "daemonset.apps/log rolled back", "rollout", "undo", "ds/log")
			k.Must(t, "rollout", "status", "ds/log", "--timeout=60s")
			become(t, k, "pods", onNode, "client1=2", "client2=2", "client3=2")
			kept := 0
			for _, uid := range values(t, k, "pods", "{.metadata.uid}") {
				if slices.Contains(before, uid) {
					kept++
				}
			}
			want := 2 // the third was deleted to make room
			if name == "surge" {
				want = 3
			}
			if kept != want {
				t.Errorf("%d pods were kept, not %d", kept, want)
			}
			k.Restart(t, "ds/log")
			k.Must(t, "rollout", "status", "ds/log", "--timeout=60s")
			k.Must(t, "delete", "ds", "log", "--cascade=foreground")
			become(t, k, "pods", names)
			become(t, k, "controllerrevisions", names)
		})
	}
}
