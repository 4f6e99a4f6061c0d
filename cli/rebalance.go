package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/cli/jobs"
	"github.com/peapod-sh/peapod/server/rebalance"
)

// Exit codes of `peapod operator rebalance`.
const (
	exitUneven = 1   // there is something left to move
	exitError  = 255 // nothing can be said
)

// moveRetry is how often a move that has to wait is looked at.
const moveRetry = time.Second

func rebalanceCommand(o *onMachine) *cobra.Command {
	var apply, dryRun bool
	var most, wave int
	var patience time.Duration
	c := &cobra.Command{
		Use: "rebalance", Short: "Move pods to the nodes that have more room", Args: cobra.NoArgs, SilenceUsage: true,
		Long: `Plan which pods would be better on other nodes, as after nodes have joined, and with --apply move them.

A pod is moved by evicting it, so disruption budgets are kept, and its controller makes another one. Only pods stay in question that
are ready, that a ReplicaSet, ReplicationController or StatefulSet would replace, and that have no volume of their node. Pods with the
annotation cluster-autoscaler.kubernetes.io/safe-to-evict: "false" stay.

The exit code is 0 if nothing has to be moved or all was moved, 1 if there is something left to move, and 255 for an error.`,
		Example: `  peapod operator rebalance                       # show the plan
  peapod operator rebalance --apply --wave 2      # two pods at a time`,
		RunE: func(c *cobra.Command, _ []string) error {
			if most < 1 || wave < 1 {
				return &jobs.Exit{Code: exitError, Err: fmt.Errorf("--max and --wave must be 1 or more")}
			}
			var plan rebalance.Plan
			if err := o.server(c.Context(), http.MethodGet, "/rebalance?max="+strconv.Itoa(most), &plan); err != nil {
				return &jobs.Exit{Code: exitError, Err: err}
			}
			showPlan(c.OutOrStdout(), &plan)
			switch {
			case len(plan.Moves) == 0:
				return nil
			case !apply:
				fmt.Fprintln(c.OutOrStdout(), "Nothing was moved: use --apply to do it.")
				return &jobs.Exit{Code: exitUneven}
			}
			return o.move(c, plan.Moves, wave, patience)
		},
	}
	c.Flags().BoolVar(&apply, "apply", false, "move the pods")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show the plan only, which is also what happens without flags")
	c.Flags().IntVar(&most, "max", 100, "how many pods to move at most")
	c.Flags().IntVar(&wave, "wave", 5, "how many pods to move before waiting for those that replace them")
	c.Flags().DurationVar(&patience, "timeout", 5*time.Minute, "how long to wait for one wave, its budgets included")
	c.MarkFlagsMutuallyExclusive("apply", "dry-run")
	return c
}

func showPlan(w io.Writer, plan *rebalance.Plan) {
	if len(plan.Moves) > 0 {
		rows := [][]string{{"NAMESPACE", "POD", "FROM", "TO", "REASON"}}
		for _, m := range plan.Moves {
			rows = append(rows, []string{m.Namespace, m.Name, m.From, m.To, m.Reason})
		}
		table(w, rows...)
		fmt.Fprintln(w)
	}
	rows := [][]string{{"NODE", "REQUESTED", "AFTERWARDS"}}
	for _, n := range plan.Nodes {
		rows = append(rows, []string{n.Name, fmt.Sprintf("%d%%", n.Before), fmt.Sprintf("%d%%", n.After)})
	}
	table(w, rows...)
	if plan.Held > 0 {
		fmt.Fprintf(w, "\n%d pods stay since their disruption budgets allow nothing now.\n", plan.Held)
	}
	if len(plan.Moves) == 0 {
		fmt.Fprintln(w, "\nNo pod would be better on another node.")
	} else {
		fmt.Fprintf(w, "\n%d pods to move.\n", len(plan.Moves))
	}
}

// client is an administrator's, with a certificate that this machine's server makes for it.
func (o *onMachine) client(ctx context.Context) (kubernetes.Interface, error) {
	q := url.Values{"user": {"peapod-operator"}, "groups": {"system:masters"}, "life": {time.Hour.String()}}
	var text string
	if err := o.server(ctx, http.MethodGet, "/kubeconfig?"+q.Encode(), &text); err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("reading the server's kubeconfig: %w", err)
	}
	return kubernetes.NewForConfig(config)
}

// move evicts pods in waves, each when the one before it runs elsewhere.
func (o *onMachine) move(c *cobra.Command, moves []rebalance.Move, wave int, patience time.Duration) error {
	client, err := o.client(c.Context())
	if err != nil {
		return &jobs.Exit{Code: exitError, Err: err}
	}
	m := &mover{client: client, out: c.OutOrStdout(), total: len(moves)}
	for len(moves) > 0 {
		n := min(wave, len(moves))
		ctx, cancel := context.WithTimeout(c.Context(), patience)
		err := m.wave(ctx, moves[:n])
		cancel()
		if err != nil {
			return &jobs.Exit{Code: exitUneven, Err: fmt.Errorf("%d of %d pods are moved: %w", m.done, m.total, err)}
		}
		moves = moves[n:]
	}
	fmt.Fprintf(m.out, "%d pods moved.\n", m.done)
	if m.done < m.total {
		return &jobs.Exit{Code: exitUneven}
	}
	return nil
}

type mover struct {
	client      kubernetes.Interface
	out         io.Writer
	done, total int
}

// owner is a controller and how many ready pods it had before one of them was evicted.
type owner struct {
	namespace string
	uid       types.UID
	ready     int
}

func (m *mover) wave(ctx context.Context, moves []rebalance.Move) error {
	owners := map[types.UID]*owner{}
	for _, v := range moves {
		p, err := m.client.CoreV1().Pods(v.Namespace).Get(ctx, v.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && string(p.UID) != v.UID {
			fmt.Fprintf(m.out, "%s/%s is gone already\n", v.Namespace, v.Name)
			m.done++
			continue
		}
		if err != nil {
			return err
		}
		if w := metav1.GetControllerOf(p); w != nil && owners[w.UID] == nil {
			n, err := m.readyOf(ctx, v.Namespace, w.UID)
			if err != nil {
				return err
			}
			owners[w.UID] = &owner{v.Namespace, w.UID, n}
		}
		if err := m.evict(ctx, &v); err != nil {
			return err
		}
		m.done++
		fmt.Fprintf(m.out, "%d/%d  %s/%s evicted from %s\n", m.done, m.total, v.Namespace, v.Name, v.From)
	}
	for _, w := range owners {
		if err := m.await(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// evict tries until the pod's budget allows it.
func (m *mover) evict(ctx context.Context, v *rebalance.Move) error {
	uid := types.UID(v.UID)
	e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: v.Namespace, Name: v.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}}
	told := false
	return wait.PollUntilContextCancel(ctx, moveRetry, true, func(ctx context.Context) (bool, error) {
		err := m.client.CoreV1().Pods(v.Namespace).EvictV1(ctx, e)
		if apierrors.IsTooManyRequests(err) {
			if !told {
				fmt.Fprintf(m.out, "%s/%s waits for its disruption budget\n", v.Namespace, v.Name)
			}
			told = true
			return false, nil
		}
		if apierrors.IsNotFound(err) {
			return true, nil // it has gone by itself
		}
		return true, err
	})
}

// await waits until as many pods of the controller are ready as were before.
func (m *mover) await(ctx context.Context, w *owner) error {
	err := wait.PollUntilContextCancel(ctx, moveRetry, true, func(ctx context.Context) (bool, error) {
		n, err := m.readyOf(ctx, w.namespace, w.uid)
		return n >= w.ready, err
	})
	if err != nil {
		return fmt.Errorf("the pods that replace those evicted in namespace %s are not ready: %w", w.namespace, err)
	}
	return nil
}

func (m *mover) readyOf(ctx context.Context, namespace string, uid types.UID) (n int, err error) {
	list, err := m.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	for i := range list.Items {
		if ready(&list.Items[i], uid) {
			n++
		}
	}
	return n, nil
}

func ready(p *corev1.Pod, controller types.UID) bool {
	w := metav1.GetControllerOf(p)
	return w != nil && w.UID == controller && p.DeletionTimestamp == nil && api.PodReady(&p.Status)
}
