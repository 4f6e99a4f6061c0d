package failure

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

func TestKilledClient(t *testing.T) { lostClient(t, "kill", "restart", 31801) }

// A node that is cut off runs on; what it still ran of what was replaced must end when it returns.
func TestCutClient(t *testing.T) { lostClient(t, "cut", "heal", 31802) }

func lostClient(t *testing.T, fail, repair string, port int32) {
	c := open(t)
	const lost, replicas = "client2", 6
	app, bare := "lost-"+fail, "bare-"+fail
	c.deploy(app, replicas, port)
	old := c.barePod(bare, lost)
	gone := map[string]bool{}
	for uid, p := range c.pods(app) {
		if p.Spec.NodeName == lost {
			gone[uid] = true
		}
	}
	if len(gone) == 0 {
		t.Fatalf("no pod is on %s; the test would show nothing", lost)
	}
	c.do(fail, lost)
	c.awaitNoEndpointsOn(app, lost)
	c.awaitReplaced(app, replicas, gone, lost)
	if p := c.pod(bare); p.UID != old.UID || p.Spec.NodeName != lost {
		t.Errorf("the bare pod was moved: it is %s on %s", p.UID, p.Spec.NodeName)
	}
	if fail == "cut" {
		for uid := range gone {
			if len(processes(uid)) == 0 {
				t.Errorf("the cut node no longer runs pod %s; the test shows nothing of the return", uid)
			}
		}
	}
	c.do(repair, lost)
	must(t, rig.AwaitNodes(c.ctx, c, true, lost))
	must(t, rig.AwaitReady(c.ctx, c, app, replicas))
	c.awaitNoProcesses(gone)
	must(t, rig.AwaitReady(c.ctx, c, bare, 1))
	if p := c.pod(bare); p.UID != old.UID {
		t.Errorf("the bare pod was replaced by %s", p.UID)
	}
	for uid := range c.pods(app) {
		if gone[uid] {
			t.Errorf("the replaced pod %s is back", uid)
		}
	}
}

func (c *cluster) awaitNoEndpointsOn(app, node string) {
	c.t.Helper()
	must(c.t, rig.Await(c.ctx, 20*time.Millisecond, "the endpoints to go", func(ctx context.Context) (bool, error) {
		list, err := rig.Endpoints(ctx, c, app)
		for _, e := range list {
			if e.Node == node {
				return false, err
			}
		}
		return true, err
	}))
}

// awaitReplaced waits for n ready pods elsewhere, none of them one of the lost.
func (c *cluster) awaitReplaced(app string, n int, gone map[string]bool, lost string) {
	c.t.Helper()
	must(c.t, rig.Await(c.ctx, 20*time.Millisecond, "replacements", func(ctx context.Context) (bool, error) {
		pods, err := rig.Pods(ctx, c, app)
		ready := 0
		for i := range pods {
			if p := &pods[i]; rig.Ready(p) && p.Spec.NodeName != lost && !gone[string(p.UID)] {
				ready++
			}
		}
		return ready >= n, err
	}))
}

func (c *cluster) awaitNoProcesses(uids map[string]bool) {
	c.t.Helper()
	must(c.t, rig.Await(c.ctx, 50*time.Millisecond, "the stale pods' processes to end", func(context.Context) (bool, error) {
		for uid := range uids {
			if list := processes(uid); len(list) > 0 {
				return false, fault("pod %s still has processes %v", uid, list)
			}
		}
		return true, nil
	}))
}

// moment is shorter than the 1.4 s of silence that are a death, by what a busy machine takes to start an agent.
const moment = 300 * time.Millisecond

// An agent that is gone for a moment, as for an upgrade, costs no pod.
func TestAgentRestart(t *testing.T) {
	c := open(t)
	c.deploy("upgraded", 3, 31803)
	before := c.pods("upgraded")
	running := map[string][]string{}
	for uid := range before {
		running[uid] = processes(uid)
	}
	readiness := c.watchNodes()
	c.do("kill-agent", "client1")
	time.Sleep(moment)
	c.do("restart", "client1")
	c.awaitLog("client1", "upgraded-log")
	readiness.settle(2 * time.Second)
	c.untouched("upgraded", before)
	for uid, pids := range running {
		if now := processes(uid); len(now) != len(pids) || now[0] != pids[0] {
			t.Errorf("pod %s had processes %v and has %v", uid, pids, now)
		}
	}
	readiness.wantNone()
}

// awaitLog waits until the node's agent starts a new pod, and so does its work again.
func (c *cluster) awaitLog(node, name string) {
	c.t.Helper()
	c.barePod(name, node)
}

// A machine that stands still for a second is not dead.
func TestFrozenClient(t *testing.T) {
	c := open(t)
	c.deploy("frozen", 3, 31804)
	before := c.pods("frozen")
	readiness := c.watchNodes()
	c.do("pause", "client1", "--for", "1s") // to start a program that resumes it may take another second
	readiness.settle(3 * time.Second)
	c.untouched("frozen", before)
	readiness.wantNone()
}

// nodeWatch collects every sight of a node that is not Ready.
type nodeWatch struct {
	c    *cluster
	stop context.CancelFunc
	done chan struct{}
	bad  []string // to be read after done
}

func (c *cluster) watchNodes() *nodeWatch {
	c.t.Helper()
	ctx, stop := context.WithCancel(c.ctx)
	w, err := c.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	must(c.t, err)
	n := &nodeWatch{c: c, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		for e := range w.ResultChan() {
			if node, ok := e.Object.(*corev1.Node); ok && !rig.NodeReady(node) {
				n.bad = append(n.bad, node.Name)
			}
		}
	}()
	c.t.Cleanup(func() { stop(); <-n.done })
	return n
}

// settle gives a wrong verdict time to be made.
func (n *nodeWatch) settle(d time.Duration) { time.Sleep(d) }

func (n *nodeWatch) wantNone() {
	n.c.t.Helper()
	n.stop()
	<-n.done
	if len(n.bad) > 0 {
		n.c.t.Errorf("these nodes were declared dead: %v", n.bad)
	}
}
