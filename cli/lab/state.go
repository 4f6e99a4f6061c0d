package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The roles of a node.
const (
	RoleServer = "server"
	RoleClient = "client"
	RoleDual   = "server,client"
	RoleSim    = "sim"
)

// Node is one machine of the lab.
type Node struct {
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	Address   netip.Addr `json:"address"`
	Namespace string     `json:"namespace"` // below /run/netns
	Link      string     `json:"link"`      // the host's end of its veth
	Cgroup    string     `json:"cgroup"`    // relative to the root of each hierarchy
	Dir       string     `json:"dir"`       // holds data/ and agent.log
	Args      []string   `json:"args"`      // of the agent, without the token
	Process   Process    `json:"process"`
}

// Process is a process that cannot be mistaken for a later one of the same pid.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, as in /proc/PID/stat
}

// subnets are the lab's networks, one of each family that it has.
func (s *state) subnets() []netip.Prefix {
	if !s.Subnet6.IsValid() {
		return []netip.Prefix{s.Subnet}
	}
	return []netip.Prefix{s.Subnet, s.Subnet6}
}

// IsServer tells whether the node takes part in Raft and serves the API.
func (n Node) IsServer() bool { return n.Role == RoleServer || n.Role == RoleDual }

// IsClient tells whether the node runs real pods.
func (n Node) IsClient() bool { return n.Role == RoleClient || n.Role == RoleDual }

// DataDir is the agent's --data-dir.
func (n Node) DataDir() string { return filepath.Join(n.Dir, "data") }

// LogFile is where the agent's standard streams go.
func (n Node) LogFile() string { return filepath.Join(n.Dir, "agent.log") }

// state is lab.json: what Down must undo. It is written before the things that it names are made.
type state struct {
	Name       string       `json:"name"`
	Binary     string       `json:"binary"`
	Bridge     string       `json:"bridge"`
	Subnet     netip.Prefix `json:"subnet"`
	Subnet6    netip.Prefix `json:"subnet6"`              // not valid in labs of one family
	Kubeconfig string       `json:"kubeconfig,omitempty"` // a copy outside the directory
	Created    time.Time    `json:"created"`
	Up         bool         `json:"up"` // Up came to its end
	SimNodes   int          `json:"simNodes,omitempty"`
	Nodes      []Node       `json:"nodes"`
}

// Dir is where the lab of a name lives by default.
func Dir(name string) string { return filepath.Join(stateRoot, name) }

func stateFile(dir string) string { return filepath.Join(dir, "lab.json") }

func loadState(dir string) (*state, error) {
	b, err := os.ReadFile(stateFile(dir))
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("reading %s: %w; 'peapod lab down' removes the lab", stateFile(dir), err)
	}
	return s, nil
}

// save replaces lab.json at once, so that a reader or a crash never meets half of it.
func (s *state) save(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := stateFile(dir) + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the lab's state: %w", err)
	}
	return os.Rename(tmp, stateFile(dir))
}

// lockDir keeps other commands from changing the lab until the returned function is called. The lock is
// on the directory itself, so nothing is left of it.
func lockDir(dir string) (func(), error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockTimeout)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("another 'peapod lab' command is changing the lab in %s: wait for it, or end it, and try again", dir)
		}
		time.Sleep(readyPoll)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
