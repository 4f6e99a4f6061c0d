package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Up makes a lab and returns when all its servers are members and all its nodes are Ready. If it fails
// or ctx ends, nothing is left, unless o.Keep wants it to be looked at.
func Up(ctx context.Context, o Options) (*Lab, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	show := newProgress(o.Stdout)
	l, unlock, err := found(o, show)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err = l.start(ctx, o, show); err == nil {
		return l, nil
	}
	show.endAll()
	err = detailed(err) // reads logs, which go next
	if o.Keep {
		return l, err
	}
	if downErr := l.remove(context.WithoutCancel(ctx)); downErr != nil {
		err = errors.Join(err, fmt.Errorf("cleaning up: %w", downErr))
	}
	return nil, err
}

// detailed turns an error into its text of now.
func detailed(err error) error {
	if cause := errors.Unwrap(err); cause != nil && errors.Is(cause, context.Canceled) {
		return cause
	}
	var f failure
	if errors.As(err, &f) {
		return fmt.Errorf("%s%w", f.Error(), quiet{err})
	}
	return err
}

// quiet keeps an error's identity without repeating its text.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }

// found makes the directory, the bridge and the namespaces. What it makes is in lab.json first.
func found(o Options, show *progress) (l *Lab, unlock func(), err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("making the lab's directory: %w", err)
	}
	if unlock, err = lockDir(o.Dir); err != nil {
		return nil, nil, err
	}
	if err := usable(o.Dir); err != nil {
		unlock()
		return nil, nil, err
	}
	began := time.Now()
	l = &Lab{dir: o.Dir}
	if err = l.build(o); err != nil {
		if l.s != nil {
			err = errors.Join(err, l.remove(context.Background()))
		}
		unlock()
		return nil, nil, err
	}
	s := show.begin("network", fmt.Sprintf("%s %s", l.s.Bridge, l.s.Subnet))
	s.began = began
	s.end(markDone)
	return l, unlock, nil
}

// usable wants a directory with nothing in it that we would remove later.
func usable(dir string) error {
	if exists(stateFile(dir)) {
		return fmt.Errorf("a lab lives in %s already: see 'peapod lab ls', or end it with 'peapod lab down'", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "lab.json.new" {
			return fmt.Errorf("%s is not empty and would be removed with the lab: choose another --dir", dir)
		}
	}
	return nil
}

func (l *Lab) build(o Options) error {
	avoid := map[int]bool{}
	for {
		p, err := freePlace(o.Name, avoid)
		if err != nil {
			return err
		}
		l.s = plan(o, p)
		if err := l.s.save(l.dir); err != nil {
			return err
		}
		err = makeBridge(o.Name, p.bridge, l.s.subnets())
		if errors.Is(err, errTaken) {
			avoid[p.index] = true
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	for _, n := range l.s.Nodes {
		if err := connect(n, l.s.Bridge, l.s.subnets()); err != nil {
			return err
		}
	}
	return nil
}

// start brings the agents up: the first server alone, then all others at once.
func (l *Lab) start(ctx context.Context, o Options, show *progress) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("not ready after %s", o.Timeout))
	defer cancel()
	first := l.s.Nodes[0]
	line := show.begin(first.Name, first.Address.String())
	token, err := l.startFirst(ctx, first)
	if line.of(err) != nil {
		return err
	}
	steps := map[string]*step{}
	for _, n := range l.s.Nodes[1:] {
		steps[n.Name] = show.begin(n.Name, n.describe(o.SimNodes))
	}
	if err := l.startRest(token); err != nil {
		return err
	}
	if err := l.awaitRest(ctx, o, first.Name, steps); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.Up = true
	return l.s.save(l.dir)
}

func (n Node) describe(sims int) string {
	if n.Role == RoleSim {
		return fmt.Sprintf("%-15s %d simulated nodes", n.Address, sims)
	}
	return n.Address.String()
}

func (l *Lab) startFirst(ctx context.Context, n Node) (token string, err error) {
	if n, err = l.startAgent(n, ""); err != nil {
		return "", err
	}
	if err = serverReady(ctx, n, l.KubeconfigOf(n.Name)); err != nil {
		return "", failure{n, err}
	}
	if token, err = joinToken(ctx, n); err != nil {
		return "", failure{n, fmt.Errorf("waiting for the join token: %w", err)}
	}
	return token, l.writeKubeconfig(n)
}

func (l *Lab) startRest(token string) error {
	var g errgroup.Group
	for _, n := range l.Nodes()[1:] {
		g.Go(func() error {
			_, err := l.startAgent(n, token)
			return err
		})
	}
	return g.Wait()
}

// startAgent starts a node's agent and records it.
func (l *Lab) startAgent(n Node, token string) (Node, error) {
	cmd, log, err := agentCommand(l.now().Binary, n, token)
	if err != nil {
		return n, err
	}
	defer log.Close()
	if n.Process, err = spawn(n, cmd); err != nil {
		return n, err
	}
	l.reapers.Go(func() { _ = cmd.Wait() }) // how it ended is in its log
	return n, l.setProcess(n.Name, n.Process)
}

// awaitRest waits for all at once and ends their steps as they come.
func (l *Lab) awaitRest(ctx context.Context, o Options, first string, steps map[string]*step) error {
	g, ctx := errgroup.WithContext(ctx)
	clients := map[string]Node{}
	var sim Node
	for _, n := range l.Nodes() {
		if n.IsServer() && n.Name != first {
			g.Go(func() error { return l.awaitServer(ctx, n, steps[n.Name]) })
		}
		if n.IsClient() {
			clients[n.Name] = n
		}
		if n.Role == RoleSim {
			sim = n
		}
	}
	g.Go(func() error {
		err := nodesReady(ctx, l.Kubeconfig(), clients, sim, o.SimNodes, func(name string) {
			if s := steps[name]; s != nil && !o.Dual {
				s.end(markDone)
			}
		})
		return l.blame(err, steps)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for _, s := range steps {
		s.end(markDone)
	}
	return nil
}

func (l *Lab) awaitServer(ctx context.Context, n Node, s *step) error {
	err := serverReady(ctx, n, l.KubeconfigOf(l.s.Nodes[0].Name))
	if err != nil {
		s.end(markFailed)
		return failure{n, err}
	}
	if !n.IsClient() {
		s.end(markDone)
	}
	return nil
}

// blame marks the step of the node that an error is about.
func (l *Lab) blame(err error, steps map[string]*step) error {
	var f failure
	if errors.As(err, &f) && steps[f.node.Name] != nil {
		steps[f.node.Name].end(markFailed)
	}
	return err
}

// writeKubeconfig writes the administrator's kubeconfig, with a context more for every other server.
func (l *Lab) writeKubeconfig(first Node) error {
	cfg, err := clientcmd.LoadFromFile(l.KubeconfigOf(first.Name))
	if err != nil {
		return err
	}
	current := cfg.Contexts[cfg.CurrentContext]
	if current == nil || cfg.Clusters[current.Cluster] == nil {
		return fmt.Errorf("%s has no current context", l.KubeconfigOf(first.Name))
	}
	for _, n := range l.Nodes() {
		if n.IsServer() {
			addContext(cfg, n, current)
		}
	}
	paths := []string{l.Kubeconfig()}
	if l.s.Kubeconfig != "" {
		paths = append(paths, l.s.Kubeconfig)
	}
	for _, p := range paths {
		if err := clientcmd.WriteToFile(*cfg, p); err != nil {
			return fmt.Errorf("writing the kubeconfig: %w", err)
		}
	}
	return nil
}

func addContext(cfg *clientcmdapi.Config, n Node, like *clientcmdapi.Context) {
	cluster := cfg.Clusters[like.Cluster].DeepCopy()
	cluster.Server = fmt.Sprintf("https://%s:%d", n.Address, apiPort)
	cfg.Clusters[n.Name] = cluster
	context := like.DeepCopy()
	context.Cluster = n.Name
	cfg.Contexts[n.Name] = context
}

// free refuses to write over a file that is somebody else's.
func free(file string) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && info.Size() == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("--kubeconfig %s exists: remove it or choose another file", file)
}
