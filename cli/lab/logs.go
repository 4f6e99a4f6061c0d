package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// followPoll is how often a followed log is looked at for more.
const followPoll = 200 * time.Millisecond

func logsCommand(t *target) *cobra.Command {
	var follow bool
	lines := -1
	c := &cobra.Command{
		Use:               "logs NODE",
		Short:             "Print the log of a node's agent",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			n, err := l.Node(args[0])
			if err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			return n.copyLog(ctx, c.OutOrStdout(), lines, follow)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing as the log grows")
	c.Flags().IntVar(&lines, "tail", -1, "print only so many of the last lines (-1: all)")
	return c
}

// copyLog prints the log, or its last lines, and what comes later until ctx ends.
func (n Node) copyLog(ctx context.Context, out io.Writer, lines int, follow bool) error {
	f, err := os.Open(n.LogFile())
	if err != nil {
		return fmt.Errorf("%s has no log yet: %w", n.Name, err)
	}
	defer f.Close()
	if lines >= 0 {
		if last := tail(n.LogFile(), lines); len(last) > 0 {
			fmt.Fprintln(out, strings.Join(last, "\n"))
		}
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return err
		}
	}
	for {
		if _, err := io.Copy(out, f); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPoll):
		}
	}
}
