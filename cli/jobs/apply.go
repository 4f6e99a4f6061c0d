package jobs

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/peapod-sh/peapod/jobspecs"
)

func runCommand(o *options) *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use:   "run FILE",
		Short: "Make the cluster what a job file says, and follow until all is healthy",
		Long: `Applies every object of the file, deletes what the job had and the file no longer has, and follows the
rollout. The exit code is 0 if every group is healthy, and 1 if one failed.`,
		Example: `  peapod job run web.hcl
  peapod job run web.hcl -var who=peapod -detach`,
	}
	o.addVars(c.Flags())
	c.Flags().BoolVar(&detach, "detach", false, "do not follow the rollout")
	return command(c, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		spec, err := o.loadJobs(c, args[0])
		if err != nil {
			return err
		}
		s, err := o.connect()
		if err != nil {
			return err
		}
		if err := s.submit(c, spec); err != nil || detach {
			return err
		}
		return s.followAll(c, spec.Jobs)
	})
}

// submit applies the file's objects and prunes.
func (s *session) submit(c *cobra.Command, spec *jobspecs.Spec) error {
	for _, u := range spec.Objects {
		if _, err := s.apply(c.Context(), u, false); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s %s applied\n", u.GetKind(), u.GetName())
	}
	for _, j := range spec.Jobs {
		surplus, err := s.surplus(c.Context(), j)
		if err != nil {
			return err
		}
		for _, o := range surplus {
			if err := s.remove(c.Context(), o); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %s deleted: it is no longer in the file\n", o.GetKind(), o.GetName())
		}
	}
	return nil
}

// apply sends an object server-side. It takes fields from other managers by force: the file is what
// the user wants, also after a `scale` or an `edit`.
func (s *session) apply(ctx context.Context, u *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	r, err := s.resource(ctx, u)
	if err != nil {
		return nil, err
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	got, err := r.Apply(ctx, u.GetName(), u, options)
	if err != nil {
		return nil, fmt.Errorf("applying %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return got, nil
}
