package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Lab is a running lab.
type Lab struct {
	Name, Dir, Binary string

	mu sync.Mutex // of commands: the lab takes one at a time
}

// Node is what a lab tells of one of its machines.
type Node struct {
	Name, Role, Dir, Cgroup string
	Namespace               string // of its network, below /run/netns
	Address                 netip.Addr
	Process                 struct{ PID int }
}

// Server tells whether the node is a Raft server.
func (n Node) Server() bool { return strings.Contains(n.Role, "server") }

// Binary is ./peapod of this checkout, or what PEAPOD names.
func Binary() (string, error) {
	path := os.Getenv("PEAPOD")
	if path == "" {
		_, here, _, _ := runtime.Caller(0)
		path = filepath.Join(filepath.Dir(here), "../../../peapod")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the binary under test is missing (make build makes it; PEAPOD names another): %w", err)
	}
	return path, nil
}

// Up starts a lab. A lab of the same name that was left behind is removed first.
func Up(ctx context.Context, name string, args ...string) (*Lab, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	l := &Lab{Name: name, Dir: "/var/lib/peapod-lab/" + name, Binary: binary}
	if _, err := os.Stat(l.Dir); err == nil {
		if err := l.Down(); err != nil {
			return nil, err
		}
	}
	_, err = l.Command(ctx, append([]string{"up", "--quiet"}, args...)...)
	return l, err
}

// Down removes the lab.
func (l *Lab) Down() error {
	_, err := l.Command(context.Background(), "down")
	return err
}

// Command runs `peapod lab ARGS` for this lab and returns what it printed.
func (l *Lab) Command(ctx context.Context, args ...string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := append([]string{"lab", args[0], "--name", l.Name}, args[1:]...)
	out, err := exec.CommandContext(ctx, l.Binary, full...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("peapod %s: %w: %s", strings.Join(full, " "), err, out)
	}
	return string(out), nil
}

// Nodes are the lab's machines as they are now.
func (l *Lab) Nodes() ([]Node, error) {
	b, err := os.ReadFile(filepath.Join(l.Dir, "lab.json"))
	if err != nil {
		return nil, err
	}
	var s struct{ Nodes []Node }
	return s.Nodes, json.Unmarshal(b, &s)
}

// Node finds a machine by its name.
func (l *Lab) Node(name string) (Node, error) {
	all, err := l.Nodes()
	for _, n := range all {
		if n.Name == name {
			return n, err
		}
	}
	return Node{}, fmt.Errorf("no node %q in the lab (%v)", name, err)
}

// Config reaches one server's API, with connections of its own.
func (l *Lab) Config(server string) (*rest.Config, error) {
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: filepath.Join(l.Dir, "kubeconfig")},
		&clientcmd.ConfigOverrides{CurrentContext: server}).ClientConfig()
	if err != nil {
		return nil, err
	}
	c.QPS = -1
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	d := &net.Dialer{Timeout: time.Second}
	c.Dial = d.DialContext // a dialer of its own keeps client-go from sharing the connection
	return c, nil
}

// Client is a client of one server.
func (l *Lab) Client(server string) (*kubernetes.Clientset, error) {
	c, err := l.Config(server)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(c)
}

// Admin asks a role ("server" or "node") of an agent by its administrator's socket.
func (l *Lab) Admin(ctx context.Context, node, role, method, path string) ([]byte, error) {
	socket := filepath.Join(l.Dir, node, "data", role, "admin.sock")
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer t.CloseIdleConnections()
	q, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := (&http.Client{Transport: t}).Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s of %s: %s: %s", method, path, node, r.Status, b)
	}
	return b, err
}

// Leader is the server that leads, as a server other than those in except sees it.
func (l *Lab) Leader(ctx context.Context, except ...string) (string, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return "", err
	}
	skip := map[string]bool{}
	for _, n := range except {
		skip[n] = true
	}
	for {
		for _, n := range nodes {
			if !n.Server() || skip[n.Name] {
				continue
			}
			b, err := l.Admin(ctx, n.Name, "server", http.MethodGet, "/raft")
			var members []struct {
				Name   string
				Leader bool
			}
			if err != nil || json.Unmarshal(b, &members) != nil {
				continue
			}
			for _, m := range members {
				if m.Leader && !skip[m.Name] {
					return m.Name, nil
				}
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return "", fmt.Errorf("no leader: %w", ctx.Err())
		}
	}
}

// LeaderClient is the server that leads, and a client of it.
func (l *Lab) LeaderClient(ctx context.Context) (string, *kubernetes.Clientset, error) {
	leader, err := l.Leader(ctx)
	if err != nil {
		return "", nil, err
	}
	c, err := l.Client(leader)
	return leader, c, err
}

// Servers and Clients are names of nodes of a role.
func (l *Lab) Servers() []string { return l.names("server") }

// Clients are the nodes that run pods.
func (l *Lab) Clients() []string { return l.names("client") }

func (l *Lab) names(role string) []string {
	all, _ := l.Nodes()
	var out []string
	for _, n := range all {
		if strings.Contains(n.Role, role) {
			out = append(out, n.Name)
		}
	}
	return out
}
