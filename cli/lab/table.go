package lab

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// The states of a node.
const (
	StateRunning   = "running"
	StatePaused    = "paused"
	StateCut       = "cut"
	StateDead      = "dead"
	StateAgentless = "no agent" // pods run, but nobody looks after them
)

// State says what a node is like now.
func (n Node) State() string {
	c, err := openCgroup(n.Cgroup)
	if err != nil || len(c.pids()) == 0 {
		return StateDead
	}
	switch {
	case c.frozen():
		return StatePaused
	case !n.Process.alive():
		return StateAgentless
	case !linkUp(n):
		return StateCut
	}
	return StateRunning
}

func listCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list", "status"},
		Short:   "List the nodes of the lab",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			return table(c.OutOrStdout(), l.Nodes())
		},
	}
}

func table(out io.Writer, nodes []Node) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tADDRESS\tSTATE\tPID\tUPTIME")
	for _, n := range nodes {
		pid, up := "-", "-"
		if n.Process.alive() {
			pid, up = fmt.Sprint(n.Process.PID), uptime(n.Process.age())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.Address, n.State(), pid, up)
	}
	return w.Flush()
}

// uptime has two units at most, as kubectl's ages.
func uptime(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
