package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/peapod-sh/peapod/server"
)

// planPath is where a server says what would become of pods.
const planPath = "/peapod/plan"

// outlook asks what would become of the cluster's pods. Who may not ask still sees which objects would change.
func (s *session) outlook(ctx context.Context, q *server.WhatIf, w io.Writer, p paint) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	raw, err := s.typed.Discovery().RESTClient().Post().AbsPath(planPath).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		fmt.Fprintf(w, "\nWhere the pods would run is not known: %v\n", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking where the pods would run: %w: %s", err, raw)
	}
	var out server.Outlook
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("reading where the pods would run: %w", err)
	}
	showOutlook(w, &out, p)
	return nil
}

func showOutlook(w io.Writer, o *server.Outlook, p paint) {
	if len(o.Start)+len(o.Waiting)+len(o.End)+len(o.Preempt) == 0 {
		return
	}
	fmt.Fprintln(w, "\nPods:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := func(sign, word string, groups []server.PodGroup) {
		for _, g := range groups {
			where := "on " + g.Node
			switch {
			case g.Node == "" && g.Reason == "":
				where = "without a node"
			case g.Node == "":
				where = "nowhere: " + g.Reason
			}
			fmt.Fprintf(t, "  %s %s\t%d\t%s %s\n", p.sign(sign), g.Workload, g.Pods, word, where)
		}
	}
	section("-", "end", o.End)
	section("-", "preempted", o.Preempt)
	section("+", "start", o.Start)
	section("!", "fit", o.Waiting)
	_ = t.Flush() // its error shows in the next write
	if !o.Settled {
		fmt.Fprintln(w, "  This is how far it would have come after some minutes: the controllers would still have something to do.")
	}
}
