package kit

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options of a lab. The zero value of a number is 3.
type Options struct {
	Name             string // of lower-case letters, digits and dashes; names the lab and its directory, with suffixVariable
	Servers, Clients int
	Mirrors          []string // REGISTRY=URL
	Args             []string // more arguments of `peapod lab up`
}

// Node is one machine of the lab, as lab.json names it.
type Node struct {
	Name      string `json:"name"`
	Role      string `json:"role"`
	Address   string `json:"address"`
	Namespace string `json:"namespace"`
	Cgroup    string `json:"cgroup"`
	Dir       string `json:"dir"`
}

// Lab is a lab that runs.
type Lab struct {
	Name       string
	Dir        string
	Kubeconfig string
	Subnet     string
	Nodes      []Node
}

// suffixVariable is appended to the names of labs, so that two checkouts on one machine can run the same tests at the same time.
const suffixVariable = "PEAPOD_LAB_SUFFIX"

// Directory is where a lab of Options.Name keeps its files.
func Directory(name string) string {
	return filepath.Join("/var/lib/peapod-lab", name+os.Getenv(suffixVariable))
}

// Down ends the lab of Options.Name; it is no error if there is none.
func Down(name string) error {
	dir := Directory(name)
	return (&Lab{Name: filepath.Base(dir), Dir: dir}).Down()
}

// Up starts a lab, in place of one that an earlier run may have left.
func Up(o Options) (*Lab, error) {
	dir := Directory(o.Name)
	o.Name = filepath.Base(dir)
	l := &Lab{Name: o.Name, Dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	if err := l.Down(); err != nil {
		return nil, err
	}
	args := []string{"lab", "up", "--name", o.Name, "--dir", dir, "--quiet",
		"--servers", strconv.Itoa(three(o.Servers)), "--clients", strconv.Itoa(three(o.Clients))}
	for _, m := range o.Mirrors {
		args = append(args, "--mirror", m)
	}
	if out, err := exec.Command(Peapod(), append(args, o.Args...)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return l, l.load()
}

func three(n int) int {
	if n == 0 {
		return 3
	}
	return n
}

func (l *Lab) load() error {
	b, err := os.ReadFile(filepath.Join(l.Dir, "lab.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, &struct {
		Name   *string
		Subnet *string
		Nodes  *[]Node
	}{&l.Name, &l.Subnet, &l.Nodes})
}

// Down ends the lab; it is no error if there is none.
func (l *Lab) Down() error {
	out, err := exec.Command(Peapod(), "lab", "down", "--name", l.Name, "--dir", l.Dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// shared opens the package's lab once.
var shared = sync.OnceValues(func() (*Lab, error) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		return nil, fmt.Errorf("this package's TestMain does not call kit.Main")
	}
	l := &Lab{Dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	return l, l.load()
})

// Shared is the lab that Main started.
func Shared(t testing.TB) *Lab {
	t.Helper()
	l, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Do runs `peapod lab VERB NODE...`: kill, pause, resume, cut, heal, restart, kill-agent.
func (l *Lab) Do(t testing.TB, verb string, nodes ...string) {
	t.Helper()
	args := append([]string{"lab", verb, "--name", l.Name, "--dir", l.Dir}, nodes...)
	if out, err := exec.Command(Peapod(), args...).CombinedOutput(); err != nil {
		t.Fatalf("peapod lab %s %v: %v\n%s", verb, nodes, err, out)
	}
}

// Exec runs a command in a node's network and returns what it printed.
func (l *Lab) Exec(t testing.TB, node string, command ...string) (string, error) {
	t.Helper()
	args := append([]string{"netns", "exec", l.Node(t, node).Namespace}, command...)
	out, err := exec.Command("ip", args...).CombinedOutput()
	return string(out), err
}

// Node finds a machine by its name.
func (l *Lab) Node(t testing.TB, name string) Node {
	t.Helper()
	for _, n := range l.Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("the lab has no node %q", name)
	return Node{}
}

// Config is the administrator's, with no limit on the rate of requests. Server, if given, names the server to ask.
func (l *Lab) Config(t testing.TB, server string) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if server != "" {
		cfg.Host = "https://" + l.Node(t, server).Address + ":6443"
	}
	cfg.QPS = -1
	return cfg
}

// Client asks the first server, or the named one.
func (l *Lab) Client(t testing.TB, server string) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(l.Config(t, server))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
