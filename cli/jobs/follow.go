package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/jobspecs"
)

// followAll watches the groups of all jobs until each is done.
func (s *session) followAll(c *cobra.Command, jobs []*jobspecs.Job) error {
	v := newView(c.OutOrStdout())
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		all, err := s.progressOf(c.Context(), jobs)
		if err != nil {
			return err
		}
		v.show(all)
		if failed, done := verdict(all); done {
			return s.conclude(c, jobs, failed)
		}
		select {
		case <-c.Context().Done():
			return errors.New("stopped following; the rollout goes on (`peapod job status NAME`)")
		case <-tick.C:
		}
	}
}

// verdict is over at the first failure, or when all are done.
func verdict(all []progress) (failed []string, done bool) {
	done = true
	for _, p := range all {
		if p.failed != "" {
			failed = append(failed, p.name)
		}
		done = done && p.done
	}
	return failed, done || len(failed) > 0
}

func (s *session) conclude(c *cobra.Command, jobs []*jobspecs.Job, failed []string) error {
	if len(failed) == 0 {
		return nil
	}
	for _, j := range jobs {
		for _, w := range s.warnings(c.Context(), s.inNamespace(j.Namespace), failed) {
			fmt.Fprintln(c.OutOrStdout(), "  "+w)
		}
	}
	return &Exit{Code: 1, Err: fmt.Errorf("failed: %s", strings.Join(failed, ", "))}
}

func (s *session) progressOf(ctx context.Context, jobs []*jobspecs.Job) ([]progress, error) {
	var out []progress
	for _, j := range jobs {
		for _, u := range j.Objects {
			var p progress
			var err error
			switch u.GetKind() {
			case "Deployment":
				p, err = s.deployment(ctx, u.GetNamespace(), u.GetName())
			case "Job":
				p, err = s.batchJob(ctx, u.GetNamespace(), u.GetName())
			default:
				continue
			}
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func (s *session) deployment(ctx context.Context, namespace, name string) (progress, error) {
	d, err := s.typed.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return progress{}, fmt.Errorf("following %s: %w", name, err)
	}
	return deploymentProgress(d), nil
}

func (s *session) batchJob(ctx context.Context, namespace, name string) (progress, error) {
	j, err := s.typed.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return progress{}, fmt.Errorf("following %s: %w", name, err)
	}
	return jobProgress(j), nil
}

// view redraws on a terminal, and prints what changed anywhere else.
type view struct {
	out      io.Writer
	terminal bool
	last     []string
}

func newView(out io.Writer) *view {
	f, ok := out.(*os.File)
	return &view{out: out, terminal: ok && term.IsTerminal(int(f.Fd()))} // #nosec G115 -- a file descriptor
}

func (v *view) show(all []progress) {
	lines := make([]string, len(all))
	for i, p := range all {
		lines[i] = p.String()
	}
	if v.terminal && len(v.last) > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA", len(v.last))
	}
	for i, l := range lines {
		switch {
		case v.terminal:
			fmt.Fprintf(v.out, "\x1b[2K%s\n", l)
		case i >= len(v.last) || v.last[i] != l:
			fmt.Fprintln(v.out, l)
		}
	}
	v.last = lines
}
