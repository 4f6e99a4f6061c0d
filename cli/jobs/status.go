package jobs

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/jobspecs"
)

func statusCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "status [NAME]",
		Short: "List the jobs, or show one with its pods",
		Example: `  peapod job status
  peapod job status web`,
	}
	return command(c, cobra.MaximumNArgs(1), func(c *cobra.Command, args []string) error {
		s, err := o.connect()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return s.listJobs(c)
		}
		return s.showJob(c, args[0])
	})
}

// summary is one row of the table.
type summary struct {
	name, kind     string
	desired, ready int32
	failed, going  bool
	created        time.Time
}

func (r *summary) status() string {
	switch {
	case r.failed:
		return "failed"
	case r.going && r.kind == "batch":
		return "running"
	case r.going:
		return "deploying"
	case r.kind == "batch":
		return "complete"
	}
	return "running"
}

// summarize folds the workloads of all jobs into rows, ordered by name.
func summarize(all []ownedObject) ([]*summary, error) {
	rows := map[string]*summary{}
	for _, o := range all {
		p, kind, err := progressIn(o.Unstructured)
		if err != nil {
			return nil, err
		}
		if kind == "" {
			continue
		}
		name := o.GetLabels()[jobspecs.JobLabel]
		r := rows[name]
		if r == nil {
			r = &summary{name: name, kind: kind, created: o.GetCreationTimestamp().Time}
			rows[name] = r
		}
		r.desired, r.ready = r.desired+p.desired, r.ready+p.ready
		r.failed, r.going = r.failed || p.failed != "", r.going || !p.done
		if t := o.GetCreationTimestamp().Time; t.Before(r.created) {
			r.created = t
		}
	}
	var out []*summary
	for _, r := range rows {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *summary) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out, nil
}

// progressIn reads a workload; its kind is empty for other objects.
func progressIn(u *unstructured.Unstructured) (p progress, kind string, err error) {
	convert := runtime.DefaultUnstructuredConverter
	switch u.GetKind() {
	case "Deployment":
		var d appsv1.Deployment
		if err = convert.FromUnstructured(u.Object, &d); err == nil {
			return deploymentProgress(&d), "service", nil
		}
	case "Job":
		var j batchv1.Job
		if err = convert.FromUnstructured(u.Object, &j); err == nil {
			return jobProgress(&j), "batch", nil
		}
	default:
		return p, "", nil
	}
	return p, "", fmt.Errorf("reading %s %s: %w", u.GetKind(), u.GetName(), err)
}

func table(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 8, 3, ' ', 0) }

func (s *session) listJobs(c *cobra.Command) error {
	all, err := s.owned(c.Context(), s.namespace, "")
	if err != nil {
		return err
	}
	rows, err := summarize(all)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		fmt.Fprintf(c.OutOrStdout(), "No jobs in namespace %s.\n", s.namespace)
		return nil
	}
	w := table(c.OutOrStdout())
	fmt.Fprintln(w, "NAME\tTYPE\tSTATUS\tREADY\tAGE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d/%d\t%s\n", r.name, r.kind, r.status(), r.ready, r.desired, duration.HumanDuration(time.Since(r.created)))
	}
	return w.Flush()
}

func (s *session) showJob(c *cobra.Command, job string) error {
	all, err := s.find(c.Context(), job)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "Job %s in namespace %s\n\n", job, s.namespace)
	for _, o := range all {
		p, kind, err := progressIn(o.Unstructured)
		if err != nil {
			return err
		}
		if kind == "" {
			fmt.Fprintf(c.OutOrStdout(), "%s %s\n", o.GetKind(), o.GetName())
			continue
		}
		fmt.Fprintln(c.OutOrStdout(), p)
	}
	fmt.Fprintln(c.OutOrStdout())
	return s.showPods(c.Context(), c.OutOrStdout(), job)
}

func (s *session) showPods(ctx context.Context, out io.Writer, job string) error {
	pods, err := s.typed.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: jobspecs.JobLabel + "=" + job})
	if err != nil {
		return fmt.Errorf("listing pods: %w", err)
	}
	w := table(out)
	fmt.Fprintln(w, "POD\tNODE\tPHASE\tREADY\tRESTARTS\tAGE")
	for i := range pods.Items {
		p := &pods.Items[i]
		ready, restarts := 0, int32(0)
		for _, cs := range p.Status.ContainerStatuses {
			if restarts += cs.RestartCount; cs.Ready {
				ready++
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d/%d\t%d\t%s\n", p.Name, p.Spec.NodeName, p.Status.Phase, ready, len(p.Spec.Containers), restarts,
			duration.HumanDuration(time.Since(p.CreationTimestamp.Time)))
	}
	return w.Flush()
}

func inspectCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "inspect NAME", Short: "Show a job's objects as YAML", Example: `  peapod job inspect web`}
	return command(c, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := o.connect()
		if err != nil {
			return err
		}
		all, err := s.find(c.Context(), args[0])
		if err != nil {
			return err
		}
		for _, u := range all {
			unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
			text, err := yaml.Marshal(u.Object)
			if err != nil {
				return fmt.Errorf("showing %s: %w", u.GetName(), err)
			}
			fmt.Fprintf(c.OutOrStdout(), "---\n%s", text)
		}
		return nil
	})
}
