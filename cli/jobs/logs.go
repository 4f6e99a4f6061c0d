package jobs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/jobspecs"
)

func logsCommand(o *options) *cobra.Command {
	var task string
	var follow bool
	var tail int64
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what a job's pods say",
		Example: `  peapod job logs web
  peapod job logs web -f -tail 10 -task server`,
	}
	c.Flags().StringVar(&task, "task", "", "only this task")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is said")
	c.Flags().Int64Var(&tail, "tail", -1, "only the last lines of each task")
	return command(c, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := o.connect()
		if err != nil {
			return err
		}
		pods, err := s.typed.CoreV1().Pods(s.namespace).List(c.Context(), metav1.ListOptions{LabelSelector: jobspecs.JobLabel + "=" + args[0]})
		if err != nil {
			return fmt.Errorf("listing pods: %w", err)
		}
		options := &corev1.PodLogOptions{Follow: follow}
		if tail >= 0 {
			options.TailLines = &tail
		}
		return s.logs(c.Context(), c.OutOrStdout(), pods.Items, task, options)
	})
}

// logs reads one task after the other, or all at once if it follows; every line tells whose it is.
func (s *session) logs(ctx context.Context, out io.Writer, pods []corev1.Pod, task string, options *corev1.PodLogOptions) error {
	group, ctx := errgroup.WithContext(ctx)
	if !options.Follow {
		group.SetLimit(1)
	}
	lines := &lineWriter{out: out}
	count := 0
	for i := range pods {
		for _, container := range pods[i].Spec.Containers {
			if task != "" && container.Name != task {
				continue
			}
			count++
			one := options.DeepCopy()
			one.Container = container.Name
			name := pods[i].Name
			group.Go(func() error { return s.copyLog(ctx, lines, name, one) })
		}
	}
	if count == 0 {
		return fmt.Errorf("no task to read: `peapod job status` shows the pods")
	}
	return group.Wait()
}

func (s *session) copyLog(ctx context.Context, out *lineWriter, pod string, options *corev1.PodLogOptions) error {
	stream, err := s.typed.CoreV1().Pods(s.namespace).GetLogs(pod, options).Stream(ctx)
	if err != nil {
		return fmt.Errorf("reading the log of %s: %w", pod, err)
	}
	defer func() { _ = stream.Close() }() // it was only read
	r := bufio.NewReader(stream)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			out.line(pod+" "+options.Container, line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the log of %s: %w", pod, err)
		}
	}
}

// lineWriter keeps lines of several readers whole.
type lineWriter struct {
	mu  sync.Mutex
	out io.Writer // guarded by mu
}

func (w *lineWriter) line(prefix, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text[len(text)-1] != '\n' {
		text += "\n"
	}
	fmt.Fprintf(w.out, "[%s] %s", prefix, text)
}
