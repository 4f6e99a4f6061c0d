package lab

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// target are the flags that say which lab is meant.
type target struct{ name, dir string }

func (t *target) flags(c *cobra.Command) {
	c.PersistentFlags().StringVar(&t.name, "name", DefaultName, "name of the lab")
	c.PersistentFlags().StringVar(&t.dir, "dir", "", "directory of the lab (default "+Dir("NAME")+")")
}

func (t *target) directory() string {
	if t.dir != "" {
		return t.dir
	}
	return Dir(t.name)
}

func (t *target) open() (*Lab, error) { return Open(t.directory()) }

// Command is `peapod lab`.
func Command() *cobra.Command {
	t := &target{}
	c := &cobra.Command{
		Use:   "lab",
		Short: "Run a cluster of several nodes on this machine, and break it",
		Long: `Run a cluster of several nodes on this machine, and break it.

Every node is a network namespace, a cgroup and a process of its own, so it can die, freeze and lose its
network as a machine can.`,
		Example: `  peapod lab up                          # three servers, three clients
  export KUBECONFIG=/var/lib/peapod-lab/default/kubeconfig
  peapod lab kill client1                # everything in it, as a loss of power would
  peapod lab restart client1
  peapod lab down`,
		SilenceUsage: true,
	}
	t.flags(c)
	c.AddCommand(upCommand(t), demoCommand(t), listCommand(t), execCommand(t), logsCommand(t), downCommand(t))
	c.AddCommand(
		actCommand(t, "kill", "End everything in nodes with SIGKILL, as a loss of power would", "killed", (*Lab).Kill),
		pauseCommand(t),
		actCommand(t, "resume", "Let paused nodes go on", "resumed", (*Lab).Resume),
		actCommand(t, "cut", "Pull the network cable of nodes", "cut", (*Lab).Cut),
		actCommand(t, "heal", "Plug the network cable of nodes in again", "healed", (*Lab).Heal),
		actCommand(t, "restart", "Start nodes again after a kill, or only the agents of nodes that run", "restarted", (*Lab).Restart),
		actCommand(t, "kill-agent", "End only the agents of nodes with SIGKILL; their pods live on", "without agent", (*Lab).KillAgent),
	)
	return c
}

// interruptible is the command's context, ended by Ctrl-C or SIGTERM.
func interruptible(c *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
}

// options are the flags of a new lab.
func (t *target) options(c *cobra.Command, o *Options) {
	f := c.Flags()
	f.IntVar(&o.Servers, "servers", 3, "number of servers")
	f.IntVar(&o.Clients, "clients", 3, "number of clients, which run pods")
	f.BoolVar(&o.Dual, "dual", false, "let every server run pods too")
	f.BoolVar(&o.DualStack, "dual-stack", false, "give nodes, pods and services addresses of IPv6 beside those of IPv4")
	f.IntVar(&o.SimNodes, "sim-nodes", 0, "number of simulated nodes besides, all in one process")
	f.IntVar(&o.SimPods, "sim-pods", 0, "pods that a simulated node takes, if not as many as a real one")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "also write the kubeconfig here")
	f.StringArrayVar(&o.Mirrors, "mirror", nil, "REGISTRY=URL to pull images from instead of REGISTRY; may be repeated")
	f.StringArrayVar(&o.ServerArgs, "server-arg", nil, "likewise for the servers, such as --server-arg=--audit-policy-file=/etc/audit.yaml")
	f.StringArrayVar(&o.ClientArgs, "client-arg", nil, "argument of `peapod agent` for the clients, such as --client-arg=--eviction-hard=; {node} is the node's name; may be repeated")
	f.StringVar(&o.LogLevel, "log-level", "", "of the agents: trace, debug, info, warn or error")
	f.DurationVar(&o.Timeout, "timeout", readyTimeout, "how long the slowest node may take to be ready")
	f.BoolVar(&o.Keep, "keep", false, "if it fails, leave what there is, to be looked at")
	f.BoolVar(&o.Quiet, "quiet", false, "no progress")
}

// complete takes over what flags cannot say.
func (t *target) complete(c *cobra.Command, o *Options) error {
	o.Name, o.Dir, o.Stdout = t.name, t.directory(), c.OutOrStdout()
	if o.Servers < 1 {
		return fmt.Errorf("--servers %d must be from 1 to %d", o.Servers, serversMax)
	}
	if o.Clients == 0 || (o.Dual && !c.Flags().Changed("clients")) {
		o.Clients = NoClients
	}
	return nil
}

// starter is a command that starts a lab and then does more.
func (t *target) starter(use, short string, do func(ctx context.Context, o Options) error) *cobra.Command {
	o := &Options{}
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := t.complete(c, o); err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			return do(ctx, *o)
		},
	}
	t.options(c, o)
	return c
}

func upCommand(t *target) *cobra.Command {
	return t.starter("up", "Start a lab and wait until it is ready", runUp)
}

func runUp(ctx context.Context, o Options) error {
	began := time.Now()
	l, err := Up(ctx, o)
	if err != nil {
		return interrupted(ctx, err)
	}
	if !o.Quiet {
		fmt.Fprintf(o.Stdout, "\nThe lab is ready after %.1f s.\n\n  export KUBECONFIG=%s\n", time.Since(began).Seconds(), l.Kubeconfig())
	}
	return nil
}

// interrupted says so, where the error is only what an interruption causes.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; the lab is gone")
	}
	return err
}

func actCommand(t *target, use, short, done string, act func(*Lab, context.Context, ...string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use + " NODE...",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, names []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			if err := act(l, ctx, names...); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %s\n", strings.Join(names, ", "), done)
			return nil
		},
		ValidArgsFunction: t.completeNodes,
	}
}

func pauseCommand(t *target) *cobra.Command {
	var length time.Duration
	c := actCommand(t, "pause", "Freeze everything in nodes", "paused", func(l *Lab, ctx context.Context, names ...string) error {
		if length > 0 {
			return l.PauseFor(ctx, length, names...)
		}
		return l.Pause(ctx, names...)
	})
	c.Flags().DurationVar(&length, "for", 0, "let them go on after this time; with 0 they stay frozen until they are resumed")
	return c
}

// completeNodes offers the nodes' names to the shell.
func (t *target) completeNodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	l, err := t.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, n := range l.Nodes() {
		out = append(out, n.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func downCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the lab and leave nothing of it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			began := time.Now()
			was, err := Down(context.WithoutCancel(contextOf(c)), t.name, t.directory())
			if err != nil {
				return fmt.Errorf("%w\nTry 'peapod lab down' again", err)
			}
			if !was {
				fmt.Fprintf(c.OutOrStdout(), "There is no lab %q.\n", t.name)
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "The lab %q is gone after %.1f s.\n", t.name, time.Since(began).Seconds())
			return nil
		},
	}
}

func contextOf(c *cobra.Command) context.Context {
	if ctx := c.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

func execCommand(t *target) *cobra.Command {
	c := &cobra.Command{
		Use:               "exec NODE -- COMMAND...",
		Short:             "Run a command in a node's network",
		Example:           "  peapod lab exec client1 -- ip address",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: t.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			command := args[1:]
			if command[0] == "--" && len(command) > 1 {
				command = command[1:]
			}
			// Ctrl-C is the command's: it comes from the terminal to both.
			signal.Ignore(syscall.SIGINT)
			code, err := l.Exec(contextOf(c), args[0], Streams{os.Stdin, os.Stdout, os.Stderr}, command...)
			if err == nil && code != 0 {
				os.Exit(code)
			}
			return err
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}
