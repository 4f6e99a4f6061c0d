package jobs

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/peapod-sh/peapod/jobspecs"
	"github.com/peapod-sh/peapod/server"
)

func planCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "plan FILE",
		Short: "Show what running a job file would change",
		Long: `Asks the server what applying the file would change, without changing anything, and shows it field by field. Then it plays
what the controllers and the scheduler would do, and shows which pods would end, where new ones would start, which would fit nowhere and
why, and whose pods would make room. A file of objects alone, as kubectl applies them, is planned as by server-side apply.

The exit code is 0 if nothing would change, 1 if something would, and 255 for an error.`,
		Example: `  peapod job plan web.hcl -var who=peapod
  peapod job plan deployment.yaml`,
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

// plan prints the changes, and what would become of the pods, and counts the objects that have any.
func (o *options) plan(c *cobra.Command, file string) (changed int, err error) {
	spec, err := o.load(c, file)
	if err != nil {
		return 0, err
	}
	s, err := o.connect()
	if err != nil {
		return 0, err
	}
	p := planning{session: s, out: c.OutOrStdout(), paint: paintFor(c.OutOrStdout())}
	for _, u := range spec.Objects {
		if err := p.object(c.Context(), u); err != nil {
			return 0, err
		}
	}
	for _, j := range spec.Jobs {
		if err := p.removals(c.Context(), j); err != nil {
			return 0, err
		}
	}
	if p.changed == 0 {
		return 0, nil
	}
	return p.changed, s.outlook(c.Context(), &p.question, p.out, p.paint)
}

// planning is a plan while it is made. question gathers what the server is asked about the pods.
type planning struct {
	*session
	out      io.Writer
	paint    paint
	changed  int
	question server.WhatIf
}

// object shows what would change in one object: field by field, the paths aligned.
func (p *planning) object(ctx context.Context, u *unstructured.Unstructured) error {
	r, err := p.resource(ctx, u)
	if err != nil {
		return err
	}
	live, err := r.Get(ctx, u.GetName(), metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return fmt.Errorf("reading %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	got, err := p.apply(ctx, u, true)
	if err != nil {
		return err
	}
	var fields []change
	if !missing {
		if fields = differences("", stripped(live.Object), stripped(got.Object)); len(fields) == 0 {
			return nil
		}
	}
	raw, err := got.MarshalJSON()
	if err != nil {
		return err
	}
	p.question.Objects = append(p.question.Objects, raw)
	p.changed++
	sign := "~"
	if missing {
		sign = "+"
	}
	fmt.Fprintf(p.out, "%s %s %s\n", p.paint.sign(sign), u.GetKind(), u.GetName())
	writeChanges(p.out, fields, p.paint)
	return nil
}

// removals shows what the job has and the file no longer has.
func (p *planning) removals(ctx context.Context, j *jobspecs.Job) error {
	surplus, err := p.surplus(ctx, j)
	if err != nil {
		return err
	}
	for _, o := range surplus {
		fmt.Fprintf(p.out, "%s %s %s: it is no longer in the file\n", p.paint.sign("-"), o.GetKind(), o.GetName())
		p.changed++
		p.question.Remove = append(p.question.Remove, server.ObjectRef{Group: o.resource.Group, Resource: o.resource.Resource, Namespace: o.GetNamespace(), Name: o.GetName()})
	}
	return nil
}
