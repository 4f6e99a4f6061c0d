package failure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
	"github.com/peapod-sh/peapod/e2e/kit"
)

// patience is how long a condition may take that holds within seconds on a healthy machine.
const patience = 25 * time.Second

// logTail is how many lines of each agent's log a failure shows.
const logTail = 25

func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "e2eb"}) }

// cluster is the lab with a client of one server.
type cluster struct {
	*rig.Lab
	kubernetes.Interface
	t   *testing.T
	ctx context.Context
}

// open waits until all servers and nodes are well, so that no test suffers from the one before.
func open(t *testing.T) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	shared := kit.Shared(t)
	c := &cluster{Lab: &rig.Lab{Name: shared.Name, Dir: shared.Dir, Binary: kit.Peapod()}, t: t, ctx: ctx}
	t.Cleanup(c.showLogs)
	for _, s := range c.Servers() {
		awaitServer(t, c, s)
	}
	c.Interface = c.client("server1")
	must(t, rig.AwaitNodes(ctx, c, true, c.Clients()...))
	return c
}

// showLogs shows the end of every agent's log after a failure, since the lab is gone after the tests.
func (c *cluster) showLogs() {
	nodes, err := c.Nodes()
	if err != nil || !c.t.Failed() {
		return
	}
	for _, n := range nodes {
		b, _ := os.ReadFile(filepath.Join(n.Dir, "agent.log"))
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		first := max(0, len(lines)-logTail)
		for i, line := range lines[:first] {
			if strings.HasPrefix(line, "panic") || strings.Contains(line, "failed to get log") {
				first = max(i-2, 0)
				break
			}
		}
		c.t.Logf("%s:\n%s", n.Name, strings.Join(lines[first:min(first+logTail, len(lines))], "\n"))
	}
}

func (c *cluster) client(server string) kubernetes.Interface {
	c.t.Helper()
	k, err := c.Client(server)
	must(c.t, err)
	return k
}

// do runs `peapod lab VERB NODE...`.
func (c *cluster) do(verb string, nodes ...string) {
	c.t.Helper()
	_, err := c.Command(c.ctx, append([]string{verb}, nodes...)...)
	must(c.t, err)
}

// awaitServer waits until a server answers a linearizable read.
func awaitServer(t *testing.T, c *cluster, server string) {
	t.Helper()
	k := c.client(server)
	must(t, rig.Await(c.ctx, 50*time.Millisecond, server+" to serve", func(ctx context.Context) (bool, error) {
		_, err := k.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deploy makes a Deployment with a NodePort before it and waits for it; both end with the test.
func (c *cluster) deploy(name string, replicas int32, nodePort int32) {
	c.t.Helper()
	apps, services := c.AppsV1().Deployments("default"), c.CoreV1().Services("default")
	_, err := apps.Create(c.ctx, rig.Deployment(name, replicas), metav1.CreateOptions{})
	must(c.t, err)
	_, err = services.Create(c.ctx, rig.Service(name, nodePort), metav1.CreateOptions{})
	must(c.t, err)
	c.t.Cleanup(func() {
		ctx := context.WithoutCancel(c.ctx)
		background := metav1.DeletePropagationBackground
		_ = apps.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
		_ = services.Delete(ctx, name, metav1.DeleteOptions{})
	})
	must(c.t, rig.AwaitReady(c.ctx, c, name, int(replicas)))
	must(c.t, rig.Await(c.ctx, 50*time.Millisecond, "endpoints", func(ctx context.Context) (bool, error) {
		list, err := rig.Endpoints(ctx, c, name)
		return len(list) == int(replicas), err
	}))
}

// barePod makes a pod that nobody owns on a node.
func (c *cluster) barePod(name, node string) *corev1.Pod {
	c.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Spec: rig.PodSpec()}
	p.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": node}
	_, err := c.CoreV1().Pods("default").Create(c.ctx, p, metav1.CreateOptions{})
	must(c.t, err)
	c.t.Cleanup(func() {
		zero := int64(0)
		_ = c.CoreV1().Pods("default").Delete(context.WithoutCancel(c.ctx), name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
	})
	must(c.t, rig.AwaitReady(c.ctx, c, name, 1))
	return c.pod(name)
}

func (c *cluster) pod(name string) *corev1.Pod {
	c.t.Helper()
	p, err := c.CoreV1().Pods("default").Get(c.ctx, name, metav1.GetOptions{})
	must(c.t, err)
	return p
}

// pods of a Deployment by UID.
func (c *cluster) pods(app string) map[string]corev1.Pod {
	c.t.Helper()
	list, err := rig.Pods(c.ctx, c, app)
	must(c.t, err)
	out := map[string]corev1.Pod{}
	for _, p := range list {
		out[string(p.UID)] = p
	}
	return out
}

// untouched fails the test if a pod was replaced or restarted.
func (c *cluster) untouched(app string, before map[string]corev1.Pod) {
	c.t.Helper()
	after := c.pods(app)
	if len(after) != len(before) {
		c.t.Errorf("%s has %d pods, had %d", app, len(after), len(before))
	}
	for uid, p := range after {
		if _, ok := before[uid]; !ok {
			c.t.Errorf("pod %s is new", p.Name)
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.RestartCount != 0 {
				c.t.Errorf("a container of %s was restarted", p.Name)
			}
		}
	}
}

// processes of a pod: those in its cgroup.
func processes(uid string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	var out []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), uid) {
			out = append(out, filepath.Base(filepath.Dir(f)))
		}
	}
	return out
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": value}}
}

func fault(format string, args ...any) error { return fmt.Errorf(format, args...) }
