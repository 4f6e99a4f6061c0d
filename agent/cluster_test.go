package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// cluster is a control plane, an image store and a network, all in memory.
type cluster struct {
	t  testing.TB
	mu sync.Mutex

	objects  map[string][]byte
	pods     map[types.UID]*corev1.Pod
	rows     int
	writes   int
	events   map[string]*corev1.Event
	down     bool
	imageErr error
	noImage  string // of which imageErr is; "" is every image
	agent    *Agent
	attach   func(ctx context.Context) error // nil succeeds
	attached map[string]bool                 // pods that have a link
	shaped   []string                        // what pods' bandwidth was limited to
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, objects: map[string][]byte{}, pods: map[types.UID]*corev1.Pod{}, events: map[string]*corev1.Event{}, attached: map[string]bool{}}
}

func (c *cluster) Get(ctx context.Context, resource, namespace, name string) ([]byte, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.objects[resource+"/"+namespace+"/"+name]
	return b, ok, nil
}

func (c *cluster) Write(ctx context.Context, list []ops.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return errors.New("no servers")
	}
	c.writes++
	for _, op := range list {
		switch op := op.(type) {
		case *ops.PodStatuses:
			for _, r := range op.Rows {
				c.rows++
				if p := c.pods[r.UID]; p != nil {
					q := *p
					q.Status = corev1.PodStatus{}
					if err := q.Status.Unmarshal(r.Status); err != nil {
						return err
					}
					c.pods[r.UID] = &q
				}
			}
		case *ops.DeletePods:
			for _, r := range op.Rows {
				delete(c.pods, r.UID)
				c.agent.Remove(r.UID)
			}
		case *ops.Put:
			e := op.Object.(*corev1.Event)
			c.events[e.Name] = e
		}
	}
	return nil
}

func (c *cluster) Ensure(ctx context.Context, ref string, policy corev1.PullPolicy, secrets [][]byte, pulling func()) (*Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.imageErr != nil && (c.noImage == "" || c.noImage == ref) {
		return nil, c.imageErr
	}
	return &Image{Ref: ref, ID: ref + "@sha256:0", Entrypoint: []string{"/main"}, Env: []string{"PATH=/bin"}}, nil
}

func (c *cluster) Lookup(ref string) (*Image, bool) {
	i, err := c.Ensure(context.Background(), ref, corev1.PullNever, nil, func() {})
	return i, err == nil
}

func (c *cluster) GC(context.Context, int64) (int64, error) { return 0, nil }

func (c *cluster) Attach(ctx context.Context, uid, netns string) ([]netip.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attach != nil {
		if err := c.attach(ctx); err != nil {
			return nil, err
		}
	}
	c.attached[uid] = true
	return []netip.Addr{netip.MustParseAddr("10.1.0.7")}, nil
}

func (c *cluster) Shape(_ context.Context, uid, _ string, ingress, egress uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shaped = append(c.shaped, fmt.Sprintf("%s %d %d", uid, ingress, egress))
	return nil
}

func (c *cluster) Detach(ctx context.Context, uid string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.attached, uid)
	return nil
}

func (c *cluster) put(p *corev1.Pod) {
	c.mu.Lock()
	c.pods[p.UID] = p
	c.mu.Unlock()
	c.agent.Put(p)
}

func (c *cluster) get(uid types.UID) *corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[uid]
}

// delete begins a graceful deletion as the API server would.
func (c *cluster) delete(uid types.UID, grace int64) {
	c.mu.Lock()
	p := c.pods[uid]
	if p == nil {
		c.mu.Unlock()
		return
	}
	q := *p
	t := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	q.DeletionTimestamp, q.DeletionGracePeriodSeconds = &t, &grace
	c.pods[uid] = &q
	c.mu.Unlock()
	c.agent.Put(&q)
}

func (c *cluster) reasons() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, e := range c.events {
		out = append(out, e.Reason)
	}
	return strings.Join(out, " ")
}

func (c *cluster) happened() []*corev1.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.events))
}

// world is an agent on a scripted executor in virtual time.
type world struct {
	*cluster
	exec   *scripted
	dir    string
	cancel context.CancelFunc
	done   chan error
}

func newWorld(t testing.TB, exec *scripted) *world {
	dir, err := os.MkdirTemp("", "agent-test-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{cluster: newCluster(t), exec: exec, dir: dir}
	w.boot()
	return w
}

// boot starts an agent: the first, or another one after stop.
func (w *world) boot() {
	w.exec.forgive()
	w.agent = New(Config{
		NodeName: "node1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, DataDir: w.dir, Executor: w.exec,
		Images: w.cluster, Network: w.cluster, ControlPlane: w.cluster, DNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
	})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan error, 1)
	agent, done := w.agent, w.done
	go func() { done <- agent.Run(ctx) }()
	w.mu.Lock()
	pods := make([]*corev1.Pod, 0, len(w.pods))
	for _, p := range w.pods {
		pods = append(pods, p)
	}
	w.mu.Unlock()
	for _, p := range pods {
		w.agent.Put(p)
	}
	w.agent.Synced()
}

func (w *world) stop() {
	w.cancel()
	if err := <-w.done; err != nil {
		w.t.Error(err)
	}
}

func (w *world) close() {
	w.stop()
	os.RemoveAll(w.dir)
	for _, f := range w.exec.faults {
		w.t.Error(f)
	}
}

// after lets virtual time pass.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// live runs a test in virtual time.
func live(t *testing.T, script func(string, int) behaviour, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newScripted(script))
		defer w.close()
		f(t, w)
	})
}

func podOf(names ...string) *corev1.Pod {
	grace := int64(30)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-1", Generation: 1},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace, NodeName: "node1"},
	}
	for _, n := range names {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "img:1"})
	}
	return p
}
