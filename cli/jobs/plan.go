package jobs

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/peapod-sh/peapod/jobspecs"
)

func planCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "plan FILE",
		Short: "Show what running a job file would change",
		Long: `Asks the server what applying the file would change, without changing anything, and shows it field by field.
The exit code is 0 if nothing would change, 1 if something would, and 255 for an error.`,
		Example: `  peapod job plan web.hcl -var who=peapod`,
	}
	o.addVars(c.Flags())
	return command(c, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		changes, err := o.plan(c, args[0])
		switch {
		case err != nil:
			return &Exit{Code: 255, Err: err}
		case changes > 0:
			fmt.Fprintf(c.OutOrStdout(), "%d objects would change\n", changes)
			return &Exit{Code: 1}
		}
		fmt.Fprintln(c.OutOrStdout(), "Nothing would change.")
		return nil
	})
}

// plan prints the changes and counts the objects that have any.
func (o *options) plan(c *cobra.Command, file string) (changed int, err error) {
	spec, err := o.loadJobs(c, file)
	if err != nil {
		return 0, err
	}
	s, err := o.connect()
	if err != nil {
		return 0, err
	}
	for _, u := range spec.Objects {
		text, err := s.planObject(c.Context(), u)
		if err != nil {
			return 0, err
		}
		if text != "" {
			changed++
			fmt.Fprint(c.OutOrStdout(), text)
		}
	}
	removed, err := s.planRemovals(c, spec)
	return changed + removed, err
}

func (s *session) planObject(ctx context.Context, u *unstructured.Unstructured) (string, error) {
	r, err := s.resource(ctx, u)
	if err != nil {
		return "", err
	}
	live, err := r.Get(ctx, u.GetName(), metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return "", fmt.Errorf("reading %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	got, err := s.apply(ctx, u, true)
	if err != nil {
		return "", err
	}
	if missing {
		return fmt.Sprintf("+ %s %s\n", u.GetKind(), u.GetName()), nil
	}
	var text string
	for _, d := range differences("", stripped(live.Object), stripped(got.Object)) {
		text += d.String() + "\n"
	}
	if text == "" {
		return "", nil
	}
	return fmt.Sprintf("~ %s %s\n%s", u.GetKind(), u.GetName(), text), nil
}

func (s *session) planRemovals(c *cobra.Command, spec *jobspecs.Spec) (removed int, err error) {
	for _, j := range spec.Jobs {
		surplus, err := s.surplus(c.Context(), j)
		if err != nil {
			return 0, err
		}
		for _, o := range surplus {
			fmt.Fprintf(c.OutOrStdout(), "- %s %s: it is no longer in the file\n", o.GetKind(), o.GetName())
			removed++
		}
	}
	return removed, nil
}
