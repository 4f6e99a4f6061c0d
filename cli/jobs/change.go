package jobs

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func stopCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "stop NAME", Short: "Stop a job and delete its objects", Example: `  peapod job stop web`}
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
			if err := s.remove(c.Context(), u); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %s deleted\n", u.GetKind(), u.GetName())
		}
		return nil
	})
}

// groups are the names of the job's Deployments; with a group only that one's.
func (s *session) groups(ctx context.Context, job, group string) ([]string, error) {
	all, err := s.find(ctx, job)
	if err != nil {
		return nil, err
	}
	var names, found []string
	for _, o := range all {
		if o.resource != deployments {
			continue
		}
		names = append(names, o.GetName())
		if group == "" || o.GetName() == job+"-"+group {
			found = append(found, o.GetName())
		}
	}
	// The Deployment of a job's only group has the job's name.
	if len(found) == 0 && len(names) == 1 && names[0] == job {
		return names, nil
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("job %s has no service group %q: its Deployments are %v", job, group, names)
	}
	return found, nil
}

// only is the Deployment that NAME [GROUP] means, where it must be one.
func (s *session) only(ctx context.Context, args []string) (string, error) {
	names, err := s.groups(ctx, args[0], groupOf(args))
	if err != nil {
		return "", err
	}
	if len(names) > 1 {
		return "", fmt.Errorf("job %s has several groups: name one of %v", args[0], names)
	}
	return names[0], nil
}

// groupOf is the GROUP of the arguments NAME [GROUP]; "" is none.
func groupOf(args []string) string {
	if len(args) < 2 {
		return ""
	}
	return args[1]
}

func scaleCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "scale NAME [GROUP] COUNT",
		Short: "Change how many copies of a group run, until the next run",
		Example: `  peapod job scale web 5
  peapod job scale shop front 5`,
	}
	return command(c, cobra.RangeArgs(2, 3), func(c *cobra.Command, args []string) error {
		count, err := strconv.ParseUint(args[len(args)-1], 10, 31)
		if err != nil {
			return fmt.Errorf("COUNT must be a whole number, not %q", args[len(args)-1])
		}
		s, err := o.connect()
		if err != nil {
			return err
		}
		name, err := s.only(c.Context(), args[:len(args)-1])
		if err != nil {
			return err
		}
		return s.scale(c, name, int32(count)) // #nosec G115 -- 31 bits
	})
}

func (s *session) scale(c *cobra.Command, name string, count int32) error {
	api := s.typed.AppsV1().Deployments(s.namespace)
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, count)
	if _, err := api.Patch(c.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager + "-scale"}, "scale"); err != nil {
		return fmt.Errorf("scaling %s: %w", name, err)
	}
	fmt.Fprintf(c.OutOrStdout(), "Deployment %s scaled to %d\n", name, count)
	return nil
}

// restartedAt is the annotation that kubectl uses too: a new value is a new pod template.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

func restartCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:     "restart NAME [GROUP]",
		Short:   "Replace a job's pods, as an update would",
		Example: `  peapod job restart web`,
	}
	return command(c, cobra.RangeArgs(1, 2), func(c *cobra.Command, args []string) error {
		s, err := o.connect()
		if err != nil {
			return err
		}
		names, err := s.groups(c.Context(), args[0], groupOf(args))
		if err != nil {
			return err
		}
		patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, restartedAt, time.Now().Format(time.RFC3339Nano))
		for _, name := range names {
			if _, err := s.typed.AppsV1().Deployments(s.namespace).Patch(c.Context(), name, types.StrategicMergePatchType, patch,
				metav1.PatchOptions{FieldManager: fieldManager + "-restart"}); err != nil {
				return fmt.Errorf("restarting %s: %w", name, err)
			}
			fmt.Fprintf(c.OutOrStdout(), "Deployment %s restarted\n", name)
		}
		return nil
	})
}
