package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
)

// revisionAnnotation numbers the versions of a Deployment on its ReplicaSets.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// version is one revision of a Deployment.
type version struct {
	number int64
	*appsv1.ReplicaSet
}

// versions lists a Deployment's, newest first.
func (s *session) versions(ctx context.Context, name string) ([]version, error) {
	d, err := s.typed.AppsV1().Deployments(s.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	sets, err := s.typed.AppsV1().ReplicaSets(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		return nil, fmt.Errorf("listing the versions of %s: %w", name, err)
	}
	return versionsOf(d, sets.Items), nil
}

func versionsOf(d *appsv1.Deployment, sets []appsv1.ReplicaSet) []version {
	var out []version
	for i := range sets {
		n, err := strconv.ParseInt(sets[i].Annotations[revisionAnnotation], 10, 64)
		if err == nil && metav1.IsControlledBy(&sets[i], d) {
			out = append(out, version{n, &sets[i]})
		}
	}
	slices.SortFunc(out, func(a, b version) int { return int(b.number - a.number) })
	return out
}

func historyCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "history NAME", Short: "List the versions of a job's groups", Example: `  peapod job history web`}
	return command(c, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		s, err := o.connect()
		if err != nil {
			return err
		}
		names, err := s.groups(c.Context(), args[0], "")
		if err != nil {
			return err
		}
		w := table(c.OutOrStdout())
		fmt.Fprintln(w, "GROUP\tVERSION\tPODS\tIMAGES\tAGE")
		for _, name := range names {
			all, err := s.versions(c.Context(), name)
			if err != nil {
				return err
			}
			for _, v := range all {
				var images []string
				for _, container := range v.Spec.Template.Spec.Containers {
					images = append(images, container.Image)
				}
				fmt.Fprintf(w, "%s\t%d\t%d\t%v\t%s\n", name, v.number, v.Status.Replicas, images, duration.HumanDuration(time.Since(v.CreationTimestamp.Time)))
			}
		}
		return w.Flush()
	})
}

func revertCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "revert NAME [GROUP] VERSION",
		Short: "Go back to a version that history lists",
		Example: `  peapod job revert web 2
  peapod job revert shop front 2`,
	}
	return command(c, cobra.RangeArgs(2, 3), func(c *cobra.Command, args []string) error {
		number, err := strconv.ParseInt(args[len(args)-1], 10, 64)
		if err != nil {
			return fmt.Errorf("VERSION must be a number that `peapod job history %s` lists, not %q", args[0], args[len(args)-1])
		}
		s, err := o.connect()
		if err != nil {
			return err
		}
		name, err := s.only(c.Context(), args[:len(args)-1])
		if err != nil {
			return err
		}
		return s.revert(c, name, number)
	})
}

// revert puts the version's pod template in place of the Deployment's.
func (s *session) revert(c *cobra.Command, name string, number int64) error {
	all, err := s.versions(c.Context(), name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(v version) bool { return v.number == number })
	if i < 0 {
		return fmt.Errorf("%s has no version %d; `peapod job history` lists what there is", name, number)
	}
	template := all[i].Spec.Template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec/template", "value": template}})
	if err != nil {
		return fmt.Errorf("reverting %s: %w", name, err)
	}
	if _, err := s.typed.AppsV1().Deployments(s.namespace).Patch(c.Context(), name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: fieldManager + "-revert"}); err != nil {
		return fmt.Errorf("reverting %s: %w", name, err)
	}
	fmt.Fprintf(c.OutOrStdout(), "Deployment %s reverted to version %d\n", name, number)
	return nil
}
