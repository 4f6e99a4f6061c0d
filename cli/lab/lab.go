package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Options of a new lab. The zero value is a lab "default" of three servers and three clients.
type Options struct {
	Name       string        // of lower-case letters, digits and dashes; "default" if empty
	Dir        string        // for state, data and logs; /var/lib/peapod-lab/NAME if empty
	Servers    int           // 3 if zero
	Clients    int           // 3 if zero and not Dual; NoClients for none
	Dual       bool          // every server is a client too
	DualStack  bool          // pods and services have IPv6 too
	SimNodes   int           // nodes without processes, in one more process
	SimPods    int           // that each of these takes; as many as a real node if zero
	Binary     string        // the peapod binary; the running one if empty
	Mirrors    []string      // REGISTRY=URL for every client
	LogLevel   string        // of every agent
	ServerArgs []string      // more arguments of the agents that are servers
	ClientArgs []string      // more arguments of the agents that run pods
	Kubeconfig string        // also write the kubeconfig here
	Timeout    time.Duration // for the slowest node to be ready; 60 s if zero
	Keep       bool          // if Up fails, leave what there is, to be looked at
	Quiet      bool          // no progress
	Stdout     io.Writer     // for progress; os.Stdout if nil
}

// NoClients as Options.Clients makes a lab of servers only.
const NoClients = -1

// Lab is a lab that exists. Its methods may be called from several goroutines.
type Lab struct {
	dir string

	mu sync.Mutex
	s  *state // guarded by mu

	reapers sync.WaitGroup // of agents that this process has started
}

// ErrNoLab says that no lab lives in a directory.
var ErrNoLab = errors.New("there is no lab")

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// complete fills in defaults and reports every fault at once.
func (o *Options) complete() error {
	o.defaults()
	var faults []error
	add := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	add(os.Geteuid() == 0, "a lab makes network namespaces and cgroups, which needs root: run it as root (or with sudo)")
	add(nameForm.MatchString(o.Name) && len(o.Name) <= nameBytesMax, "--name %q must be of lower-case letters, digits and dashes, %d at most", o.Name, nameBytesMax)
	add(o.Servers >= 1 && o.Servers <= serversMax, "--servers %d must be from 1 to %d", o.Servers, serversMax)
	add(o.Clients >= 0 && o.Clients <= clientsMax, "--clients %d must be from 0 to %d", o.Clients, clientsMax)
	add(o.SimNodes >= 0 && o.SimNodes <= simNodesMax, "--sim-nodes %d must be from 0 to %d", o.SimNodes, simNodesMax)
	add(o.SimPods >= 0, "--sim-pods %d must not be negative", o.SimPods)
	dir, err := filepath.Abs(o.Dir)
	add(err == nil, "--dir %q: %v", o.Dir, err)
	add(len(dir) <= dirBytesMax, "--dir %q is too long for the sockets that must live below it: %d bytes at most", dir, dirBytesMax)
	o.Dir = dir
	if o.Kubeconfig != "" {
		o.Kubeconfig, err = filepath.Abs(o.Kubeconfig)
		add(err == nil, "--kubeconfig: %v", err)
		if err := free(o.Kubeconfig); err != nil {
			faults = append(faults, err)
		}
	}
	if o.Binary == "" {
		o.Binary, err = os.Executable()
		add(err == nil, "finding this program's file: %v", err)
	}
	return errors.Join(faults...)
}

func (o *Options) defaults() {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Dir == "" {
		o.Dir = Dir(o.Name)
	}
	if o.Servers == 0 {
		o.Servers = 3
	}
	switch {
	case o.Clients == NoClients:
		o.Clients = 0
	case o.Clients == 0 && !o.Dual:
		o.Clients = 3
	}
	if o.Timeout == 0 {
		o.Timeout = readyTimeout
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Quiet {
		o.Stdout = io.Discard
	}
}

// Open finds the lab that lives in dir, in whatever state it is.
func Open(dir string) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s, err := loadState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: start one with 'peapod lab up'", ErrNoLab, dir)
	}
	if err != nil {
		return nil, err
	}
	return &Lab{dir: dir, s: s}, nil
}

// now is the lab's state, which nobody changes in place but setProcess and Up.
func (l *Lab) now() *state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.now().Name }

// Dir is where the lab's state lives.
func (l *Lab) Dir() string { return l.dir }

// Gateway is the host's address in the lab: where nodes reach what listens on the host.
func (l *Lab) Gateway() netip.Addr { return gateway(l.now().Subnet) }

// Kubeconfig is a file with which the administrator reaches the first server.
func (l *Lab) Kubeconfig() string { return filepath.Join(l.dir, "kubeconfig") }

// KubeconfigOf is the administrator's kubeconfig that a server wrote for itself.
func (l *Lab) KubeconfigOf(server string) string {
	return filepath.Join(l.dir, server, "data", "kubeconfig")
}

// Complete tells whether Up came to its end.
func (l *Lab) Complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.Up
}

// Nodes are all nodes, servers first.
func (l *Lab) Nodes() []Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.s.Nodes)
}

// Node finds a node by its name.
func (l *Lab) Node(name string) (Node, error) {
	var names []string
	for _, n := range l.Nodes() {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return Node{}, fmt.Errorf("the lab has no node %q; it has %v", name, names)
}

// setProcess records a node's new agent.
func (l *Lab) setProcess(name string, p Process) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.s.Nodes {
		if l.s.Nodes[i].Name == name {
			l.s.Nodes[i].Process = p
		}
	}
	return l.s.save(l.dir)
}

// lock keeps other processes and goroutines from changing the lab, and reads what they have changed.
func (l *Lab) lock() (func(), error) {
	unlock, err := lockDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoLab, l.dir)
	}
	if err != nil {
		return nil, err
	}
	s, err := loadState(l.dir)
	if err != nil {
		unlock()
		return nil, err
	}
	l.mu.Lock()
	l.s = s
	l.mu.Unlock()
	return unlock, nil
}
