package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/supervisor"
)

// each runs f for the named nodes at once, under the lab's lock.
func (l *Lab) each(names []string, f func(Node) error) error {
	if len(names) == 0 {
		return errors.New("name a node; 'peapod lab ls' lists them")
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var g errgroup.Group
	for _, name := range names {
		n, err := l.Node(name)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		g.Go(func() error { return f(n) })
	}
	return g.Wait()
}

// inCgroup adds the node's cgroup to what f gets.
func inCgroup(f func(cgroup) error) func(Node) error {
	return func(n Node) error {
		c, err := openCgroup(n.Cgroup)
		if err != nil {
			return err
		}
		return f(c)
	}
}

// Kill ends everything in the nodes with SIGKILL, as a loss of power would, and returns when it has ended. To everybody else a node dies
// in one moment: its link is down while its processes die one after the other, and nobody hears from one that another has died already.
func (l *Lab) Kill(ctx context.Context, names ...string) error {
	return l.each(names, func(n Node) error {
		c, err := openCgroup(n.Cgroup)
		if err != nil {
			return err
		}
		if linkUp(n) {
			if err := setLink(n, false); err != nil {
				return err
			}
			defer func() { _ = setLink(n, true) }() // one whose network is gone cannot be reached either way
		}
		return c.kill(ctx)
	})
}

// KillAgent ends only the agents of the nodes with SIGKILL; supervisors and pods live on, and the nodes stay without an agent until Restart.
func (l *Lab) KillAgent(ctx context.Context, names ...string) error {
	return l.each(names, func(n Node) error {
		c, err := openCgroup(n.Cgroup)
		if err != nil {
			return err
		}
		if err := c.killAgents(ctx); err != nil {
			return err
		}
		if err := endForGood(n); err != nil {
			return err
		}
		return c.killAgents(ctx) // one that the supervisor had started again by then
	})
}

func (c cgroup) killAgents(ctx context.Context) error {
	pids := c.agentsOnly()
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL) // what has gone is as dead as it should be
	}
	return awaitEnd(ctx, pids)
}

// agentsOnly are the processes in the leaf that run `peapod agent`: the launcher and the agent.
func (c cgroup) agentsOnly() []int {
	var out []int
	for _, pid := range c.agents() {
		if a := arguments(pid); len(a) > 1 && a[1] == "agent" {
			out = append(out, pid)
		}
	}
	return out
}

// awaitEnd waits until none of the processes runs.
func awaitEnd(ctx context.Context, pids []int) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	for _, pid := range pids {
		for {
			if s, err := readStat(pid); err != nil || s.ended() {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
			case <-time.After(cgroupPoll):
			}
		}
	}
	return nil
}

// Pause freezes everything in the nodes and returns when it stands still.
func (l *Lab) Pause(ctx context.Context, names ...string) error {
	return l.each(names, inCgroup(func(c cgroup) error { return c.freeze(ctx) }))
}

// PauseFor freezes everything in the nodes and lets it go on after d, or when ctx ends.
func (l *Lab) PauseFor(ctx context.Context, d time.Duration, names ...string) error {
	err := l.Pause(ctx, names...)
	if err == nil {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return errors.Join(err, l.Resume(ctx, names...))
}

// Resume lets paused nodes go on.
func (l *Lab) Resume(_ context.Context, names ...string) error {
	return l.each(names, inCgroup(cgroup.thaw))
}

// Cut takes the nodes' links down: nothing reaches them and they reach nobody, but they run.
func (l *Lab) Cut(_ context.Context, names ...string) error {
	return l.each(names, func(n Node) error { return setLink(n, false) })
}

// Heal takes the nodes' links up again.
func (l *Lab) Heal(_ context.Context, names ...string) error {
	return l.each(names, func(n Node) error { return setLink(n, true) })
}

// Restart starts the agents of nodes again with their data. A node that was killed comes back as after a
// reboot: its old mounts are gone. On a node that runs, only the agent is replaced and pods live on.
// It returns when the processes have started; Ready waits for what they become.
func (l *Lab) Restart(ctx context.Context, names ...string) error {
	return l.each(names, func(n Node) error {
		c, err := openCgroup(n.Cgroup)
		if err != nil {
			return err
		}
		c.thawAll()
		if err := c.stopAgent(ctx, n); err != nil {
			return fmt.Errorf("stopping the agent of %s: %w", n.Name, err)
		}
		if len(c.pids()) == 0 {
			if err := errors.Join(unmountBelow(n.Dir), c.remove()); err != nil {
				return fmt.Errorf("clearing away what %s has left: %w", n.Name, err)
			}
		}
		token, err := readToken(l.Nodes()[0])
		if err != nil {
			token = "" // the node is a member already, or its log will say that it needs one
		}
		_, err = l.startAgent(n, token)
		return err
	})
}

// stopAgent asks the agent to end and kills it if it does not.
func (c cgroup) stopAgent(ctx context.Context, n Node) error {
	if err := endForGood(n); err != nil {
		return err
	}
	pids := c.agentsOnly()
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGTERM)
	}
	polite, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if awaitEnd(polite, pids) == nil {
		return nil
	}
	for _, pid := range c.agentsOnly() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return awaitEnd(ctx, pids)
}

// endForGood has the node's supervisor end its agent, and not start one again that has just been killed: it would start beside ours.
func endForGood(n Node) error {
	s, err := supervisor.Dial(filepath.Join(n.DataDir(), "supervisor"))
	if err != nil {
		return nil // none lives, and so nobody starts anything again
	}
	defer s.Close()
	if err := s.SignalAgent(unix.SIGTERM); err != nil {
		return fmt.Errorf("asking the supervisor to end the agent: %w", err)
	}
	return nil
}

// Ready waits until the named servers serve and the named nodes are Ready; all of the lab if none is named.
func (l *Lab) Ready(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		for _, n := range l.Nodes() {
			if n.Role != RoleSim {
				names = append(names, n.Name)
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	clients := map[string]Node{}
	for _, name := range names {
		n, err := l.Node(name)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if n.IsServer() {
			g.Go(func() error { return wrapFailure(n, serverReady(ctx, n, l.Kubeconfig())) })
		}
		if n.IsClient() {
			clients[name] = n
		}
	}
	if len(clients) > 0 {
		g.Go(func() error {
			return nodesReady(ctx, l.livingKubeconfig(), clients, Node{}, 0, func(string) {})
		})
	}
	return g.Wait()
}

// livingKubeconfig is one of a server whose agent runs.
func (l *Lab) livingKubeconfig() string {
	for _, n := range l.Nodes() {
		if n.IsServer() && n.Process.alive() && exists(l.KubeconfigOf(n.Name)) {
			return l.KubeconfigOf(n.Name)
		}
	}
	return l.Kubeconfig()
}

func wrapFailure(n Node, err error) error {
	if err == nil {
		return nil
	}
	return failure{n, err}
}

// Streams are a command's standard streams; nil ones are /dev/null.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exec runs a command in a node's network and returns its exit code.
func (l *Lab) Exec(ctx context.Context, node string, s Streams, argv ...string) (int, error) {
	n, err := l.Node(node)
	if err != nil {
		return -1, err
	}
	if len(argv) == 0 {
		return -1, errors.New("no command given")
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	err = onThread(func() error {
		if err := enterNamespace(n); err != nil {
			return err
		}
		return cmd.Start()
	})
	if err != nil {
		return -1, fmt.Errorf("running %s on %s: %w", argv[0], node, err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return -1, fmt.Errorf("running %s on %s: %w", argv[0], node, err)
	}
	return 0, nil
}

// Dial opens a connection from a node's network. The address must be an IP address and a port.
func (l *Lab) Dial(ctx context.Context, node, network, address string) (net.Conn, error) {
	n, err := l.Node(node)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	err = onThread(func() (err error) {
		if err = enterNamespace(n); err != nil {
			return err
		}
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
