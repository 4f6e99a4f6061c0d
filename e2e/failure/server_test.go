package failure

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// The leader dies, twice, and comes back from its disk: nothing acknowledged is lost, no pod is touched, no visitor notices.
func TestKilledLeader(t *testing.T) {
	c := open(t)
	c.deploy("steady", 3, 31805)
	before := c.pods("steady")
	visits := startVisiting(c, "client1", 31805)
	writes := startWriting(c, "leader")
	for range 2 {
		writes.awaitMore(t, 100)
		leader, err := c.Leader(c.ctx)
		must(t, err)
		c.do("kill", leader)
		_, err = c.Leader(c.ctx, leader)
		must(t, err)
		writes.awaitMore(t, 100)
		c.do("restart", leader)
		awaitServer(t, c, leader)
	}
	visits.check(t)
	writes.check(c)
	c.untouched("steady", before)
}

// All servers lose power at once.
func TestKilledServers(t *testing.T) {
	c := open(t)
	c.deploy("orphaned", 3, 31806)
	before := c.pods("orphaned")
	visits := startVisiting(c, "client2", 31806)
	writes := startWriting(c, "all")
	writes.awaitMore(t, 300)
	c.do("kill", c.Servers()...)
	time.Sleep(time.Second)
	c.do("restart", c.Servers()...)
	for _, s := range c.Servers() {
		awaitServer(t, c, s)
	}
	writes.awaitMore(t, 100)
	visits.check(t)
	writes.check(c)
	must(t, rig.AwaitReady(c.ctx, c, "orphaned", 3))
	c.untouched("orphaned", before)
}

// A leader without a majority can commit nothing, the others go on, and it follows them when it is back.
func TestMinority(t *testing.T) {
	c := open(t)
	leader, err := c.Leader(c.ctx)
	must(t, err)
	c.do("cut", leader)
	t.Cleanup(func() { _, _ = c.Command(context.Background(), "heal", leader) })
	next, err := c.Leader(c.ctx, leader)
	must(t, err)
	others := c.client(next).CoreV1().ConfigMaps("default")
	must(t, rig.Await(c.ctx, 50*time.Millisecond, "the majority to commit", func(ctx context.Context) (bool, error) {
		_, err := others.Create(ctx, configMap("majority", "yes"), metav1.CreateOptions{})
		return err == nil, err
	}))
	if out, err := c.inside(leader, "create", "configmap", "minority", "--request-timeout=3s"); err == nil {
		t.Errorf("the cut off leader took a write: %s", out)
	}
	if out, err := c.inside(leader, "get", "configmap", "majority", "--request-timeout=2s"); err == nil {
		t.Errorf("the cut off leader, which cannot know, answered a read: %s", out)
	}
	c.do("heal", leader)
	awaitServer(t, c, leader)
	for _, s := range c.Servers() {
		maps := c.client(s).CoreV1().ConfigMaps("default")
		m, err := maps.Get(c.ctx, "majority", metav1.GetOptions{})
		must(t, err)
		if m.Data["value"] != "yes" {
			t.Errorf("%s has %v", s, m.Data)
		}
		if _, err := maps.Get(c.ctx, "minority", metav1.GetOptions{}); err == nil {
			t.Errorf("%s has what only a minority has seen", s)
		}
	}
}

// inside runs kubectl's command in a server's own network, against its own API.
func (c *cluster) inside(server string, args ...string) (string, error) {
	c.t.Helper()
	full := append([]string{"lab", "exec", "--name", c.Name, server, "--", c.Binary, "--kubeconfig", filepath.Join(c.Dir, "kubeconfig"), "--context", server}, args...)
	out, err := exec.CommandContext(c.ctx, c.Binary, full...).CombinedOutput()
	return string(out), err
}

// A server that has never been there joins a cluster whose log no longer begins at its beginning.
func TestZServerFromSnapshot(t *testing.T) {
	c := open(t)
	writes := startWriting(c, "old")
	writes.awaitMore(t, 200)
	writes.end()
	const gone = "server3"
	old, err := c.Node(gone)
	must(t, err)
	c.do("kill", gone)
	leader, err := c.Leader(c.ctx, gone)
	must(t, err)
	_, err = c.Admin(c.ctx, leader, "server", http.MethodDelete, "/raft/"+gone)
	must(t, err)
	for _, left := range []string{"server1", "server2"} { // both, since either may lead when the new one comes
		_, err = c.Admin(c.ctx, left, "server", http.MethodPost, "/snapshot?trailing=1")
		must(t, err)
	}
	dir := t.TempDir()
	k := c.startServer(leader, old, "server4", dir)
	for name := range writes.acked {
		if _, err := k.CoreV1().ConfigMaps("default").Get(c.ctx, name, metav1.GetOptions{}); err != nil {
			t.Fatalf("the new server lacks what was acknowledged: %v", err)
		}
	}
	if got, _ := filepath.Glob(filepath.Join(dir, "server", "snapshots", "*", "state.bin")); len(got) == 0 {
		t.Error("the new server came to its state by a log that the others have compacted, not by a snapshot")
	}
	_, err = k.CoreV1().ConfigMaps("default").Create(c.ctx, configMap("through-server4", ""), metav1.CreateOptions{})
	must(t, err)
}

// startServer runs a new server in the network of one that is gone, and waits until it serves.
func (c *cluster) startServer(leader string, in rig.Node, name, dir string) kubernetes.Interface {
	c.t.Helper()
	b, err := c.Admin(c.ctx, leader, "server", http.MethodPost, "/tokens?ttl=10m")
	must(c.t, err)
	at, err := c.Node(leader)
	must(c.t, err)
	cmd := exec.Command(c.Binary, "lab", "exec", "--name", c.Name, in.Name, "--", c.Binary, "agent", "--server", "--name", name,
		"--data-dir", dir, "--bind", in.Address.String(), "--join", at.Address.String()+":7440", "--token", between(string(b), `"Token":"`, `"`))
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	must(c.t, cmd.Start())
	c.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
		if c.t.Failed() {
			c.t.Log(log.String())
		}
	})
	config, err := c.Config(leader)
	must(c.t, err)
	config.Host = fmt.Sprintf("https://%s:6443", in.Address)
	k, err := kubernetes.NewForConfig(config)
	must(c.t, err)
	must(c.t, rig.Await(c.ctx, 50*time.Millisecond, name+" to serve", func(ctx context.Context) (bool, error) {
		_, err := k.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	}))
	return k
}

func between(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	out, _, _ := strings.Cut(rest, after)
	return out
}
