package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// Sizes of the rows scale and million.
const (
	scaleNodes   = 5_000
	scalePods    = 50_000  // in Deployments of 1,000
	smallPods    = 10_000  // in Deployments of 10
	rolledPods   = 10_000  // of one Deployment
	residentPods = 150_000 // while memory is measured
	deadGroups   = 1       // of 500 nodes
	mostGroups   = 6
	millionNodes = 20_000
	dyingPods    = 24 // on a node of the row deaths
	creators     = 32
)

// crowd makes Deployments and follows their pods.
type crowd struct {
	c      kubernetes.Interface
	config *rest.Config
	made   int // Deployments
	pods   int

	tallies *tallies
	clients []*writer // that make Deployments; each has a connection
	opened  time.Time // when they got it
}

// newCrowd is a crowd at a server whose Deployments are followed until it is left.
func newCrowd(ctx context.Context, l *rig.Lab, server string) (*crowd, error) {
	config, err := l.Config(server)
	if err != nil {
		return nil, err
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	w := &crowd{c: c, config: config, tallies: followTallies(ctx, config)}
	return w, w.connect(ctx)
}

func crowdAtLeader(ctx context.Context, l *rig.Lab) (w *crowd, leader string, err error) {
	if leader, err = l.Leader(ctx); err != nil {
		return nil, "", err
	}
	w, err = newCrowd(ctx, l, leader)
	return w, leader, err
}

// connect opens the clients' connections, unless that was a moment ago: a server ends those that were idle for 90 s.
func (w *crowd) connect(ctx context.Context) error {
	if time.Since(w.opened) < time.Minute {
		return nil
	}
	w.disconnect()
	for range creators {
		c, err := newWriterAs(ctx, w.config)
		if err != nil {
			return err
		}
		w.clients = append(w.clients, c)
	}
	w.opened = time.Now()
	return nil
}

func (w *crowd) disconnect() {
	for _, c := range w.clients {
		c.conn.Close()
	}
	w.clients = nil
}

func (w *crowd) leave() {
	w.disconnect()
	w.tallies.stop()
}

// scaleTimeout bounds the rows about many nodes.
const scaleTimeout = 20 * time.Minute

// benchScale runs Deployments of several sizes on 5,000 simulated nodes, rolls one, and lets nodes die.
func benchScale(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	w, leader, err := crowdAtLeader(ctx, l)
	if err != nil {
		return err
	}
	defer w.leave()
	if err := w.tellBothRates(ctx, l, t); err != nil {
		return err
	}
	if err := w.tellRollout(ctx, t); err != nil {
		return err
	}
	if err := w.tellDeaths(ctx, l, t, deadGroups, scaleNodes, 5*time.Second); err != nil {
		return err
	}
	if err := w.tellMemory(ctx, l, t, leader); err != nil {
		return err
	}
	return w.tellDeaths(ctx, l, t, mostGroups, scaleNodes, 30*time.Second)
}

// benchRates is what the row scale begins with: how fast Deployments of both sizes come up.
func benchRates(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	w, _, err := crowdAtLeader(ctx, l)
	if err != nil {
		return err
	}
	defer w.leave()
	return w.tellBothRates(ctx, l, t)
}

// tellBothRates says how fast large Deployments come up, and small ones.
func (w *crowd) tellBothRates(ctx context.Context, l *rig.Lab, t *table) error {
	if err := w.tellRates(ctx, l, t, scalePods/1000, 1000, 50_000, 20_000); err != nil {
		return err
	}
	return w.tellRates(ctx, l, t, smallPods/10, 10, 10_000, 0)
}

// benchMillion places and runs a million pods, and kills the leader.
func benchMillion(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	n := *millionPods / 1000
	before, err := usages(l)
	if err != nil {
		return err
	}
	w, err := newCrowd(ctx, l, leader)
	if err != nil {
		return err
	}
	committed, running, err := w.add(ctx, n, 1000)
	w.leave() // the leader that it follows is about to end
	if err != nil {
		return err
	}
	t.below(fmt.Sprintf("%d pods on %d simulated nodes committed with their nodes", w.pods, millionNodes), committed.Seconds(), 60, "s")
	t.below("  all reported Running", running.Seconds(), 180, "s")
	u, err := usages(l)
	if err != nil {
		return err
	}
	t.below("  leader's RssAnon", u[leader].anon, 2560, "MB")
	cpu := 0.0
	for name := range u {
		cpu += u[name].cpuSeconds - before[name].cpuSeconds
	}
	t.told("  processor time of servers and simulated nodes for a pod", fmt.Sprintf("%.0f us", 1e6*cpu/float64(w.pods)))
	if err := saveHeaps(ctx, l); err != nil {
		return err
	}
	if _, err := l.Command(ctx, "kill", leader); err != nil {
		return err
	}
	began := time.Now()
	profiled, err := profileAll(ctx, l, "million")
	if err != nil {
		return err
	}
	defer func() { _ = profiled() }() // of the leader that is dead there is none
	next, err := l.Leader(ctx, leader)
	if err != nil {
		return err
	}
	if w.c, err = l.Client(next); err != nil {
		return err
	}
	if err := w.untilPlaced(ctx, rig.Deployment("after", 1)); err != nil {
		return err
	}
	t.below("  leader killed, to the next pod placed", time.Since(began).Seconds(), 5, "s")
	return w.allPlaced(ctx)
}

// untilPlaced creates a Deployment, again while nobody leads, and returns when it has its pod, which is made with its node. To look for the
// pod among a million would keep the leader from making it.
func (w *crowd) untilPlaced(ctx context.Context, d *appsv1.Deployment) error {
	err := rig.Await(ctx, 20*time.Millisecond, "a Deployment", func(ctx context.Context) (bool, error) {
		_, err := w.c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), err
	})
	if err != nil {
		return err
	}
	return rig.Await(ctx, 50*time.Millisecond, "its pod", func(ctx context.Context) (bool, error) {
		now, err := w.c.AppsV1().Deployments("default").Get(ctx, d.Name, metav1.GetOptions{})
		return err == nil && now.Status.Replicas == 1, err
	})
}

// tellRates adds Deployments and says how fast their pods were committed and reported Running.
func (w *crowd) tellRates(ctx context.Context, l *rig.Lab, t *table, deployments, replicas int, commitTarget, runTarget float64) error {
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	profiling, err := profileAll(ctx, l, fmt.Sprintf("%ds", replicas))
	if err != nil {
		return err
	}
	if err := w.connect(ctx); err != nil {
		return err
	}
	before, err := spent(l, leader)
	if err != nil {
		return err
	}
	reads := w.reading(ctx)
	committed, running, err := w.add(ctx, deployments, replicas)
	latencies := reads()
	if err != nil {
		return err
	}
	after, err := spent(l, leader)
	if err != nil {
		return err
	}
	if err := errors.Join(w.allPlaced(ctx), profiling()); err != nil {
		return err
	}
	pods := float64(deployments * replicas)
	t.above(fmt.Sprintf("%d Deployments of %d on %d simulated nodes: pods committed with their nodes", deployments, replicas, scaleNodes), pods/committed.Seconds(), commitTarget, "pods/s")
	if runTarget > 0 {
		t.above("  reported Running", pods/running.Seconds(), runTarget, "pods/s")
	} else {
		t.told("  reported Running", fmt.Sprintf("%.0f pods/s", pods/running.Seconds()))
	}
	t.below(fmt.Sprintf("  p99 of %d reads meanwhile (p50 %.1f ms)", len(latencies), quantile(latencies, 0.5)), quantile(latencies, 0.99), 50, "ms")
	t.told("  processor time for a pod: "+rolesInOrder, after.since(before).each(1e6/pods, "%.1f")+" us")
	return nil
}

// add creates Deployments and returns when all their pods were committed, and when they were running.
func (w *crowd) add(ctx context.Context, deployments, replicas int) (committed, running time.Duration, err error) {
	if err := w.connect(ctx); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	made := make(chan error, 1)
	first := w.made
	go func() { made <- w.create(ctx, first, deployments, int32(replicas)) }()
	w.made += deployments
	w.pods += deployments * replicas
	if err := w.awaitPods(ctx); err != nil {
		return 0, 0, errors.Join(err, <-made)
	}
	committed = time.Since(began)
	if err := <-made; err != nil {
		return 0, 0, err
	}
	if err := w.awaitRunning(ctx); err != nil {
		return 0, 0, err
	}
	return committed, time.Since(began), nil
}

// create makes n Deployments, each by a request of its own, the clients side by side.
func (w *crowd) create(ctx context.Context, first, n int, replicas int32) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for _, c := range w.clients {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := c.createAt(deploymentsPath, rig.Deployment(fmt.Sprintf("crowd%d", first+i), replicas)); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

const deploymentsPath = "/apis/apps/v1/namespaces/default/deployments"

// awaitPods waits until the Deployments say that they have all their pods: controllers make them with their nodes.
func (w *crowd) awaitPods(ctx context.Context) error {
	return rig.Await(ctx, 10*time.Millisecond, fmt.Sprintf("%d pods", w.pods), func(context.Context) (bool, error) {
		return w.tallies.sum().pods >= w.pods, nil
	})
}

// allPlaced fails if a pod has no node.
func (w *crowd) allPlaced(ctx context.Context) error {
	list, err := w.c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{Limit: 1, FieldSelector: "spec.nodeName="})
	if err == nil && len(list.Items) > 0 {
		err = fmt.Errorf("pod %s has no node", list.Items[0].Name)
	}
	return err
}

func (w *crowd) awaitRunning(ctx context.Context) error {
	return rig.Await(ctx, 10*time.Millisecond, fmt.Sprintf("%d running pods", w.pods), func(context.Context) (bool, error) {
		return w.tallies.sum().ready >= w.pods, nil
	})
}

// tellRollout brings a Deployment of many pods to a new template.
func (w *crowd) tellRollout(ctx context.Context, t *table) error {
	d := rig.Deployment("rolled", rolledPods)
	quarter := intstr.FromString("25%")
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &quarter, MaxSurge: &quarter}}
	if _, err := w.c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return err
	}
	w.pods += rolledPods
	if err := w.awaitRunning(ctx); err != nil {
		return err
	}
	began := time.Now()
	change, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]string{"round": "2"}}}}})
	if err != nil {
		return err
	}
	if _, err := w.c.AppsV1().Deployments("default").Patch(ctx, d.Name, types.MergePatchType, change, metav1.PatchOptions{}); err != nil {
		return err
	}
	err = rig.Await(ctx, 50*time.Millisecond, "the rollout", func(ctx context.Context) (bool, error) {
		d, err := w.c.AppsV1().Deployments("default").Get(ctx, d.Name, metav1.GetOptions{})
		s := &d.Status
		return err == nil && s.ObservedGeneration == d.Generation && s.UpdatedReplicas == rolledPods && s.ReadyReplicas == rolledPods && s.Replicas == rolledPods, err
	})
	t.below(fmt.Sprintf("a Deployment of %d pods rolls to a new template, maxUnavailable and maxSurge 25 %%", rolledPods), time.Since(began).Seconds(), 20, "s")
	return err
}

// tellDeaths ends groups of nodes at once and says when the cluster noticed, and when their pods ran elsewhere; reads go on meanwhile.
func (w *crowd) tellDeaths(ctx context.Context, l *rig.Lab, t *table, groups, all int, target time.Duration) error {
	nodes := groups * 500
	lost, err := w.onNodes(ctx, nodes)
	if err != nil {
		return err
	}
	stop := w.reading(ctx)
	began := time.Now()
	if _, err := l.Admin(ctx, "sim", "sim", "POST", fmt.Sprintf("/die?first=0&end=%d", groups)); err != nil {
		stop()
		return err
	}
	var noticed time.Time
	err = rig.Await(ctx, 10*time.Millisecond, "the replacements", func(context.Context) (bool, error) {
		ready := w.tallies.sum().ready
		if noticed.IsZero() && ready < w.pods {
			noticed = time.Now()
		}
		return !noticed.IsZero() && ready >= w.pods, nil
	})
	replaced := time.Now()
	reads := stop()
	if err != nil {
		return err
	}
	t.told(fmt.Sprintf("%d of %d simulated nodes with %d pods end at once: noticed after", nodes, all, lost), fmt.Sprintf("%.2f s", noticed.Sub(began).Seconds()))
	t.below("  from there to all replaced", replaced.Sub(noticed).Seconds(), target.Seconds(), "s")
	t.below(fmt.Sprintf("  p99 of %d reads meanwhile (p50 %.1f ms)", len(reads), quantile(reads, 0.5)), quantile(reads, 0.99), 50, "ms")
	if _, err := l.Admin(ctx, "sim", "sim", "POST", fmt.Sprintf("/live?first=0&end=%d", groups)); err != nil {
		return err
	}
	return rig.Await(ctx, 100*time.Millisecond, "the nodes' return", func(ctx context.Context) (bool, error) {
		n, err := w.c.CoreV1().Nodes().Get(ctx, "sim-1", metav1.GetOptions{})
		return err == nil && rig.NodeReady(n), err
	})
}

// benchDeaths lets most nodes of a smaller cluster die, which takes a minute instead of the ten of the row scale.
func benchDeaths(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	w, _, err := crowdAtLeader(ctx, l)
	if err != nil {
		return err
	}
	defer w.leave()
	if _, _, err := w.add(ctx, *dyingNodes*dyingPods/1000, 1000); err != nil {
		return err
	}
	return w.tellDeaths(ctx, l, t, *dyingNodes*3/5/500, *dyingNodes, 30*time.Second)
}

// onNodes counts the pods of the nodes with the lowest numbers, from a sample of them.
func (w *crowd) onNodes(ctx context.Context, n int) (int, error) {
	const sample = 20
	pods := 0
	for i := range sample {
		list, err := w.c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{FieldSelector: fmt.Sprintf("spec.nodeName=sim-%d", i*n/sample+1)})
		if err != nil {
			return 0, err
		}
		pods += len(list.Items)
	}
	return pods * n / sample, nil
}

// reading begins to read; what it returns stops that and says how long each read took.
func (w *crowd) reading(ctx context.Context) func() []time.Duration {
	ctx, stop := context.WithCancel(ctx)
	latencies := make(chan []time.Duration, 1)
	go func() { latencies <- w.read(ctx) }()
	return func() []time.Duration {
		stop()
		return <-latencies
	}
}

// read gets an object again and again, 100 times a second, until ctx ends.
func (w *crowd) read(ctx context.Context) (out []time.Duration) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return out
		}
		began := time.Now()
		if _, err := w.c.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err == nil {
			out = append(out, time.Since(began))
		}
	}
}

// tellMemory fills the state and says what the leader uses.
func (w *crowd) tellMemory(ctx context.Context, l *rig.Lab, t *table, leader string) error {
	if n := (residentPods - w.pods) / 1000; n > 0 {
		if _, _, err := w.add(ctx, n, 1000); err != nil {
			return err
		}
	}
	u, err := settledUsages(ctx, l)
	if err != nil {
		return err
	}
	t.below(fmt.Sprintf("leader's RssAnon with %d nodes and %d running pods", scaleNodes, w.pods), u[leader].anon, 500, "MB")
	return nil
}
