package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// guarding is an executor with a supervisor, which outlives agents and can be replaced.
type guarding struct {
	*scripted
	began time.Time

	gmu    sync.Mutex
	guards *fence.Guards
	known  map[string]bool
}

func newGuarding() *guarding {
	return &guarding{scripted: newScripted(nil), began: time.Now(), guards: fence.NewGuards(), known: map[string]bool{}}
}

func (g *guarding) clock() time.Duration { return time.Since(g.began) }

func (g *guarding) kill(uids []string) {
	for _, uid := range uids {
		g.known[uid] = false
		g.mu.Lock()
		ids := map[string]bool{}
		for _, c := range g.boxes[uid].Containers {
			ids[c.ID] = c.Running
		}
		g.mu.Unlock()
		for id := range ids {
			g.end(uid, id, 137, 9)
		}
	}
}

// watch kills when the lease ends.
func (g *guarding) watch() {
	time.AfterFunc(g.guards.Until()-g.clock(), func() {
		g.gmu.Lock()
		defer g.gmu.Unlock()
		g.kill(g.guards.Expire(g.clock()))
	})
}

func (g *guarding) GuardPod(uid string, until time.Duration) error {
	g.gmu.Lock()
	defer g.gmu.Unlock()
	ok, kill := g.guards.Guard(uid, until, g.clock())
	g.kill(kill)
	if g.known[uid] = ok; !ok {
		return runtime.ErrNoLease
	}
	g.watch()
	return nil
}

func (g *guarding) ExtendLease(until time.Duration) (map[string]bool, error) {
	g.gmu.Lock()
	defer g.gmu.Unlock()
	g.kill(g.guards.Extend(until, g.clock()))
	g.watch()
	out := map[string]bool{}
	for uid, runs := range g.known {
		out[uid] = runs
	}
	return out, nil
}

// forget is a supervisor that was killed and another one in its place.
func (g *guarding) forget() {
	g.gmu.Lock()
	defer g.gmu.Unlock()
	g.guards, g.known = fence.NewGuards(), map[string]bool{}
}

func (g *guarding) StartContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	g.gmu.Lock()
	may := g.guards.MayStart(spec.PodUID, g.clock())
	g.gmu.Unlock()
	if spec.Guarded && !may {
		return runtime.Container{}, runtime.ErrNoLease
	}
	return g.scripted.StartContainer(ctx, spec)
}

// leasing is a control plane that gives leases, unless it is cut off.
type leasing struct {
	*cluster
	lmu sync.Mutex
	cut bool
	off bool
}

func (l *leasing) set(cut bool) {
	l.lmu.Lock()
	defer l.lmu.Unlock()
	l.cut = cut
}

func (l *leasing) Lease(ctx context.Context) (*wire.LeaseReply, error) {
	l.lmu.Lock()
	defer l.lmu.Unlock()
	switch {
	case l.cut:
		return nil, errors.New("no leader")
	case l.off:
		return &wire.LeaseReply{}, nil
	}
	return &wire.LeaseReply{Length: 8 * time.Second, Renew: 2 * time.Second, Index: 7}, nil
}

func (l *leasing) GetSince(_ context.Context, index uint64, resource, namespace, name string) ([]byte, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index != 7 {
		l.t.Errorf("read as of %d", index)
	}
	for _, p := range l.pods {
		if p.Namespace == namespace && p.Name == name {
			b, err := p.Marshal()
			return b, true, err
		}
	}
	return nil, false, nil
}

// fenced is an agent with one StatefulSet's pod.
type fenced struct {
	*leasing
	exec *guarding
	stop func()
}

func newFenced(t *testing.T, off bool) *fenced {
	f := &fenced{leasing: &leasing{cluster: newCluster(t), off: off}, exec: newGuarding()}
	f.agent = New(Config{NodeName: "node1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, DataDir: t.TempDir(), Executor: f.exec,
		Images: f.cluster, Network: f.cluster, ControlPlane: f.leasing, DNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")}})
	f.agent.fencing.clock = f.exec.clock
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	agent := f.agent
	go func() { done <- agent.Run(ctx) }()
	f.stop = func() { cancel(); <-done }
	p := podOf("main")
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "set", Controller: &yes}}
	f.put(p)
	f.agent.Synced()
	f.pass(time.Second)
	return f
}

func (f *fenced) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// condition is what the pod's status says of its guard.
func (f *fenced) condition() corev1.ConditionStatus {
	for _, p := range f.pods {
		if c := findCondition(p.Status.Conditions, api.FencedCondition); c != nil {
			return c.Status
		}
	}
	return ""
}

func (f *fenced) want(t *testing.T, running string, condition corev1.ConditionStatus) {
	t.Helper()
	if got := f.exec.runningNames(); got != running {
		t.Errorf("there run %q, want %q", got, running)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := f.condition(); got != condition {
		t.Errorf("the condition is %q, want %q", got, condition)
	}
}

// A guarded pod outlives an absence of leaders that is short, ends with a long one, and starts again after it. Invariant 85.
func TestFencedAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, false)
		defer f.stop()
		f.want(t, "main", corev1.ConditionFalse)
		f.set(true)
		f.pass(5 * time.Second)
		f.set(false)
		f.pass(time.Minute)
		f.want(t, "main", corev1.ConditionFalse)
		f.set(true)
		f.pass(9 * time.Second)
		f.want(t, "", corev1.ConditionTrue)
		f.pass(time.Minute)
		f.want(t, "", corev1.ConditionTrue)
		if n := strings.Count(f.reasons(), "Fenced"); n != 2 {
			t.Errorf("the pod and its node are said to be fenced in %d events", n)
		}
		f.set(false)
		f.pass(time.Minute)
		f.want(t, "main", corev1.ConditionFalse)
	})
}

// What was given away while the node was fenced does not start there, though the node has not heard of that yet. Invariant 85.
func TestFencedAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, false)
		defer f.stop()
		f.set(true)
		f.pass(10 * time.Second)
		f.mu.Lock()
		clear(f.pods)
		f.mu.Unlock()
		f.set(false)
		f.pass(time.Minute)
		if got := f.exec.runningNames(); got != "" {
			t.Errorf("there runs %q", got)
		}
	})
}

// A supervisor that takes a killed one's place guards on. Invariant 85.
func TestSupervisorIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, false)
		defer f.stop()
		f.exec.forget()
		f.pass(3 * time.Second)
		f.want(t, "main", corev1.ConditionFalse)
		f.set(true)
		f.pass(9 * time.Second)
		f.want(t, "", corev1.ConditionTrue)
	})
}

// A claim that is not shown to the node, since the pod that names it was moved away, does not count as none. Invariant 85.
func TestAClaimOutOfSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, false)
		defer f.stop()
		p := podOf("writer")
		p.UID, p.Name = "uid-2", "writer-1"
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "writer", UID: "set", Controller: &yes}}
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		guarded, err := f.agent.fencing.admit(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), "claim data is not there for this node") {
			t.Errorf("guarded %v, error %v", guarded, err)
		}
	})
}

// Where the cluster does without, nothing is guarded and nothing is asked again.
func TestFencingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, true)
		defer f.stop()
		f.set(true)
		f.pass(time.Minute)
		f.want(t, "main", "")
	})
}
