package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// examples is where the demo's jobs are, below the current directory.
const examples = "jobspecs/examples"

// The objects of the examples that the demo asks for.
const (
	hclJob      = "web"
	yamlJob     = "web-yaml"
	demoSpace   = "default"
	rolloutWait = "60s"
	curlTimeout = 10 * time.Second
)

func demoCommand(t *target) *cobra.Command {
	return t.starter("demo", "Start a lab, run the examples on it, and say what to try next", runDemo)
}

// demo is one run.
type demo struct {
	o    Options
	lab  *Lab
	show *progress
}

func runDemo(ctx context.Context, o Options) error {
	if err := o.complete(); err != nil {
		return err
	}
	for _, f := range []string{"web.hcl", "web.yaml"} {
		if _, err := os.Stat(filepath.Join(examples, f)); err != nil {
			return fmt.Errorf("the demo runs %s/%s, which is not below the current directory: change to Peapod's source directory", examples, f)
		}
	}
	d := &demo{o: o, show: newProgress(o.Stdout)}
	if err := d.run(ctx); err != nil {
		return d.failed(ctx, err)
	}
	d.farewell()
	return nil
}

// failed says what to try. An interrupted demo takes the lab that it started with it.
func (d *demo) failed(ctx context.Context, err error) error {
	if d.lab == nil {
		return interrupted(ctx, err)
	}
	if ctx.Err() != nil {
		if err := d.lab.Down(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		return interrupted(ctx, err)
	}
	return fmt.Errorf("%w\n\nThe lab still runs. Try:\n  export KUBECONFIG=%s\n  %s get pods -o wide\n  %s get events\n  %s\n  %s\nand end it with:\n  %s",
		err, d.lab.Kubeconfig(), self(), self(), d.command("ls"), d.command("logs server1"), d.command("down"))
}

// command is a lab command as the user would type it for this lab.
func (d *demo) command(what string) string {
	text := self() + " lab " + what
	if d.o.Name != DefaultName {
		text += " --name " + d.o.Name
	}
	if d.o.Dir != Dir(d.o.Name) {
		text += " --dir " + d.o.Dir
	}
	return text
}

// end is how to end the lab: the default one by the target that make demo belongs to.
func (d *demo) end() string {
	if d.command("down") == self()+" lab down" {
		return "make demo-down"
	}
	return d.command("down")
}

func (d *demo) run(ctx context.Context) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	api, err := d.api()
	if err != nil {
		return err
	}
	steps := []struct {
		name, detail string
		do           func(context.Context) (string, error)
	}{
		{"apply", examples + "/web.hcl", d.apply("web.hcl")},
		{"apply", examples + "/web.yaml", d.apply("web.yaml")},
		{"wait", "deployment/" + hclJob, d.rollout(hclJob)},
		{"wait", "deployment/" + yamlJob, d.rollout(yamlJob)},
		{"ClusterIP", "from a pod: http://" + yamlJob, d.fromPod},
		{"NodePort", "from this machine", func(ctx context.Context) (string, error) { return d.fromHost(ctx, api) }},
	}
	for _, s := range steps {
		line := d.show.begin(s.name, s.detail)
		detail, err := s.do(ctx)
		line.describe(detail)
		if line.of(err) != nil {
			return fmt.Errorf("%s %s: %w", s.name, s.detail, err)
		}
	}
	return nil
}

// open finds the lab that runs already, or starts one.
func (d *demo) open(ctx context.Context) error {
	l, err := Open(d.o.Dir)
	if err == nil && l.Complete() {
		d.lab = l
		d.show.say("The lab %q is up already; the demo goes on with it.", l.Name())
		return nil
	}
	if err == nil {
		return fmt.Errorf("the lab in %s is not complete: end it with '%s' and try again", d.o.Dir, d.command("down"))
	}
	if !errors.Is(err, ErrNoLab) {
		return err
	}
	d.show.say("Starting %d servers and %d clients, each in a network namespace of its own:", d.o.Servers, d.o.Clients)
	if d.o.Clients == 0 {
		d.o.Clients = NoClients
	}
	d.lab, err = Up(ctx, d.o)
	return err
}

func (d *demo) api() (kubernetes.Interface, error) {
	cfg, err := restConfig(d.lab.Kubeconfig(), "")
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

// peapod runs this binary as the user would; an error has what it printed.
func (d *demo) peapod(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.o.Binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.lab.Kubeconfig())
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("'%s %s': %w\n  %s", self(), strings.Join(args, " "), err, strings.ReplaceAll(text, "\n", "\n  "))
	}
	return text, nil
}

func (d *demo) apply(file string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		_, err := d.peapod(ctx, "apply", "-f", filepath.Join(examples, file))
		return "", err
	}
}

func (d *demo) rollout(name string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		_, err := d.peapod(ctx, "rollout", "status", "deployment/"+name, "--timeout="+rolloutWait)
		if err != nil {
			return "", d.withPods(ctx, err)
		}
		return "", nil
	}
}

// withPods adds what the pods say about a roll-out that failed.
func (d *demo) withPods(ctx context.Context, err error) error {
	for _, args := range [][]string{{"get", "pods", "-o", "wide"}, {"get", "events"}} {
		if out, askErr := d.peapod(ctx, args...); askErr == nil {
			lines := strings.Split(out, "\n")
			err = fmt.Errorf("%w\n\n%s", err, strings.Join(lines[max(0, len(lines)-logTail):], "\n"))
		}
	}
	return err
}

// fromPod asks a service by its name from inside a pod of the other job.
func (d *demo) fromPod(ctx context.Context) (string, error) {
	out, err := d.peapod(ctx, "exec", "deploy/"+hclJob, "--", "wget", "-qO-", "http://"+yamlJob)
	if err == nil && out == "" {
		err = errors.New("the answer is empty")
	}
	if err != nil {
		err = d.withPods(ctx, err)
	}
	return "", err
}

// fromHost asks a NodePort on a client.
func (d *demo) fromHost(ctx context.Context, api kubernetes.Interface) (string, error) {
	url, err := d.nodePort(ctx, api)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, curlTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: the lab is here
	resp, err := client.Do(req)
	if err != nil {
		return url, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return url, err
	}
	if resp.StatusCode != http.StatusOK {
		return url, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return "from this machine: " + url, nil
}

// nodePort is the URL of the example's service on the last node that runs pods.
func (d *demo) nodePort(ctx context.Context, api kubernetes.Interface) (string, error) {
	svc, err := api.CoreV1().Services(demoSpace).Get(ctx, hclJob, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	var node *Node
	for _, n := range d.lab.Nodes() {
		if n.IsClient() && n.State() == StateRunning {
			node = &n
		}
	}
	if node == nil {
		return "", errors.New("the lab has no client that runs")
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			return fmt.Sprintf("http://%s:%d", node.Address, p.NodePort), nil
		}
	}
	return "", fmt.Errorf("the service %s has no NodePort", hclJob)
}

// self is how the user calls this program.
func self() string {
	if filepath.IsAbs(os.Args[0]) || !strings.Contains(os.Args[0], "/") {
		return filepath.Base(os.Args[0])
	}
	return os.Args[0]
}

func (d *demo) farewell() {
	d.show.say("\nEverything works. To look around:\n")
	d.show.say("  export KUBECONFIG=%s\n", d.lab.Kubeconfig())
	for _, line := range [][2]string{
		{self() + " get pods -o wide", "where the pods run (kubectl works as well)"},
		{self() + " exec -it deploy/" + hclJob + " -- sh", "a shell in a pod"},
		{d.command("kill client1"), "lose a machine: its pods come back elsewhere"},
		{d.command("restart client1"), "and it returns"},
		{d.command("cut server1"), "pull a server's cable; --context server2 asks another"},
		{d.command("heal server1"), "and plug it in"},
		{d.command("ls"), "the machines"},
		{d.end(), "end it all: nothing is left"},
	} {
		d.show.say("  %-42s # %s", line[0], line[1])
	}
}
