package reconcile

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// fleets is for hunting: go test ./sched/reconcile -run TestFleets -fleets -rapid.checks=10000.
var fleets = flag.Bool("fleets", false, "play longer histories of all kinds of workloads at the same time")

// badImage is one whose pods never become ready.
const badImage = "bad"

// fleet is every kind of workload on a few nodes that come and go: a Deployment with a budget that is rolled out, taken back and scaled,
// a DaemonSet, a Job, single pods and gangs, of several priorities.
type fleet struct {
	*world
	t     *rapid.T
	names int
	// spread is whether the Deployment's pods must be spread over the nodes.
	spread bool
	// midway is whether the engine has decided something since its last rest: it may carry that out after the world has changed.
	midway bool
}

func newFleet(t *rapid.T) *fleet {
	f := &fleet{world: standardWorld(t, rapid.Uint64Range(1, 1<<20).Draw(t, "seed"), 0), t: t, spread: rapid.Bool().Draw(t, "spread")}
	f.sick = func(p *api.PodRecord) bool { return p.Spec().Containers[0].Image == badImage }
	for i := range 4 {
		f.join(fmt.Sprint("n", i+1))
	}
	f.settle()
	f.furnish()
	f.check = func(list []ops.Op) {
		if !f.midway {
			f.checkRollout("web", list)
		}
		f.checkRoom()
		f.checkGangs(list)
		f.checkSpread(list)
	}
	return f
}

func (f *fleet) join(name string) {
	f.addNode(name, "4", "110")
	n := f.node(name).DeepCopy()
	n.Labels = map[string]string{corev1.LabelHostname: name}
	f.put(Nodes, n)
}

func (f *fleet) furnish() {
	d := testDeployment("web", 4)
	surge, unavailable := drawBound(f.t, "surge"), drawBound(f.t, "unavailable")
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
	d.Spec.Template.Spec.Priority = ptr.To[int32](1000)
	cpu := rapid.SampledFrom([]string{"100m", "900m"}).Draw(f.t, "web's cpu") // of the large ones few fit, and others have to go for them
	d.Spec.Template.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
	if f.spread {
		d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: d.Spec.Selector, MatchLabelKeys: []string{appsv1.DefaultDeploymentUniqueLabelKey}}}
	}
	f.put(Deployments, d)
	f.put(Budgets, testBudget(rapid.SampledFrom([]string{"50%", "1", "3"}).Draw(f.t, "least"), "", webOnly()))
	log := testDaemonSet("log")
	log.Spec.Template.Spec.Priority = ptr.To[int32](500)
	f.put(DaemonSets, log)
	j := testJob("batch", 1_000_000)
	j.Spec.Parallelism, j.Spec.Completions, j.Spec.BackoffLimit = ptr.To[int32](2), ptr.To[int32](4), ptr.To[int32](1)
	j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}}}}
	if rapid.Bool().Draw(f.t, "indexed") {
		j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	}
	f.put(Jobs, j)
}

// any is one of the pods that are chosen; nil if there is none.
func (f *fleet) any(choose func(*api.PodRecord) bool) *api.PodRecord {
	var list []*api.PodRecord
	for _, p := range f.pods {
		if choose(p) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b *api.PodRecord) int { return strings.Compare(a.Name, b.Name) })
	return list[rapid.IntRange(0, len(list)-1).Draw(f.t, "pod")]
}

func ofJob(p *api.PodRecord) bool { return p.Controller() != nil && p.Controller().Kind == "Job" }

// happen is one thing that users, nodes or pods do.
func (f *fleet) happen() {
	t := f.t
	node := fmt.Sprint("n", rapid.IntRange(1, 5).Draw(t, "node"))
	there := f.objects[ref{Nodes, "", node}] != nil
	f.names++
	what := rapid.SampledFrom([]string{"roll", "scale", "pause", "roll log", "evict", "delete", "job pod", "burst", "gang", "down", "up", "cordon", "node", "leader"}).Draw(t, "what")
	f.trace = append(f.trace, "> "+what+" "+node)
	switch what {
	case "roll", "scale", "pause":
		f.editDeployment(what)
	case "roll log":
		d := f.daemonSet("log")
		d.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("v", rapid.IntRange(1, 3).Draw(t, "image"))
		f.put(DaemonSets, d)
	case "evict":
		f.evict()
	case "delete":
		if p := f.any(func(p *api.PodRecord) bool { return true }); p != nil {
			f.deletePod(f.now.Unix(), ops.DeleteRow{Namespace: p.Namespace(), Name: p.Name, UID: p.UID, Grace: rapid.SampledFrom([]int64{-1, 0}).Draw(t, "grace")})
		}
	case "job pod":
		f.endJobPod()
	case "burst":
		f.addPod(fmt.Sprint("p", f.names), rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "cpu"), rapid.Int32Range(0, 3).Draw(t, "priority"), nil)
	case "gang":
		for i := range 3 {
			f.addPod(fmt.Sprint("g", f.names, "-", i), rapid.SampledFrom([]string{"1", "2"}).Draw(t, "cpu"), 2, func(p *corev1.Pod) {
				p.Annotations = map[string]string{GangName: fmt.Sprint("g", f.names), GangSize: "3"}
			})
		}
	case "leader":
		f.restart(uint64(f.names))
	default:
		f.turnNode(what, node, there)
	}
}

func (f *fleet) editDeployment(what string) {
	d := f.deployment("web")
	switch what {
	case "roll":
		d.Spec.Template.Spec.Containers[0].Image = rapid.SampledFrom([]string{"v1", "v2", "v3", badImage}).Draw(f.t, "image")
	case "scale":
		d.Spec.Replicas = ptr.To(rapid.Int32Range(0, 7).Draw(f.t, "to"))
	case "pause":
		d.Spec.Paused = !d.Spec.Paused
	}
	f.put(Deployments, d)
}

func (f *fleet) turnNode(what, node string, there bool) {
	switch {
	case what == "node" && there && rapid.Bool().Draw(f.t, "really"):
		delete(f.dead, node)
		f.deleteNow(f.t, ref{Nodes, "", node})
	case what == "node" && !there:
		f.join(node)
	case !there:
	case what == "down" && len(f.dead) < 2:
		f.dead[node] = true
		f.e.NodeDown(node)
	case what == "up":
		delete(f.dead, node)
		f.e.NodeUp(node)
	case what == "cordon":
		n := f.node(node).DeepCopy()
		n.Spec.Unschedulable = !n.Spec.Unschedulable
		f.put(Nodes, n)
	}
}

func (f *fleet) endJobPod() {
	p := f.any(func(p *api.PodRecord) bool {
		return ofJob(p) && p.Node != "" && !f.dead[p.Node] && !p.Terminal() && !p.Deleting() && p.Status.Ready()
	})
	if p != nil {
		f.setStatus(p, rapid.SampledFrom([]corev1.PodPhase{corev1.PodSucceeded, corev1.PodSucceeded, corev1.PodFailed}).Draw(f.t, "phase"), false)
	}
}

// evict is what the eviction API does of one of the Deployment's pods: it takes one disruption of the budget, by the revision that it has
// read. What a budget allows is true when the engine rests: the pods that remain are enough.
func (f *fleet) evict() {
	p := f.any(func(p *api.PodRecord) bool { return p.Labels()["app"] == "web" && p.Status.Ready() && !p.Deleting() })
	o := f.objects[ref{Budgets, "default", "b"}]
	b := o.obj.(*policyv1.PodDisruptionBudget).DeepCopy()
	if p == nil || b.Status.DisruptionsAllowed == 0 || b.Status.ObservedGeneration != b.Generation {
		return
	}
	b.Status.DisruptionsAllowed--
	b.Status.DisruptedPods = map[string]metav1.Time{p.Name: metav1.NewTime(f.now)}
	if f.applyOne(&ops.Put{Resource: Budgets, Object: b, Expect: o.rev})[0] == ops.Applied {
		f.deletePod(f.now.Unix(), ops.DeleteRow{Namespace: p.Namespace(), Name: p.Name, UID: p.UID, Grace: -1})
	}
}

// step commits a part of what the engine wants; meanwhile the world may have moved on, and with what is lost the leader is.
func (f *fleet) step() {
	out, _ := f.e.Step(f.now)
	f.checkOnce(out)
	f.check(out)
	f.midway = true
	n := min(len(out), rapid.IntRange(0, 2*len(out)+1).Draw(f.t, "committed"))
	old := f.e
	if rapid.Bool().Draw(f.t, "meanwhile") {
		f.happen()
	}
	f.note(out[:n])
	f.apply(out[:n])
	if n < len(out) && old == f.e {
		f.restart(uint64(f.names) + 1000)
	}
}

// checkRested holds whenever the engine rests.
func (f *fleet) checkRested() {
	t, web := f.t, f.deployment("web")
	f.midway = false
	f.checkSurge("web", (&rollout{d: web}).mostPods())
	checkCounters(t, f.world)
	checkBudget(t, f.world)
	healthy := int32(0)
	for _, p := range f.mine("web") {
		if p.Status.Ready() && !p.Deleting() && !p.Terminal() && !f.e.nodeDown(p.Node) {
			healthy++
		}
	}
	if s := f.budget().Status; s.DisruptionsAllowed > max(0, healthy-s.DesiredHealthy) {
		f.fail("the budget allows %d disruptions of %d healthy pods, of which %d are to stay", s.DisruptionsAllowed, healthy, s.DesiredHealthy)
	}
	j := f.job("batch")
	active := 0
	for _, p := range f.pods {
		if ofJob(p) && !p.Terminal() && !p.Deleting() {
			active++
		}
	}
	if active > int(min(*j.Spec.Parallelism, *j.Spec.Completions-j.Status.Succeeded)) || j.Status.Succeeded > *j.Spec.Completions {
		f.fail("%d pods of the job are active, its status is %+v", active, j.Status)
	}
}

func (f *fleet) fail(format string, a ...any) {
	f.t.Helper()
	f.t.Fatalf("%s\n%s", fmt.Sprintf(format, a...), strings.Join(f.trace, "\n"))
}

// recover lets users and nodes do what a cluster needs to come to rest: only what fits, on nodes that live.
func (f *fleet) recover() {
	for i := range 5 {
		if name := fmt.Sprint("n", i+1); f.objects[ref{Nodes, "", name}] == nil {
			f.join(name)
		}
	}
	for _, o := range f.list(Nodes) {
		f.change(Nodes, "", o.name, func(o runtime.Object) { o.(*corev1.Node).Spec.Unschedulable = false })
		delete(f.dead, o.name)
		f.e.NodeUp(o.name)
	}
	f.join("n9")
	for k, p := range f.pods {
		if p.Controller() == nil {
			f.deletePod(f.now.Unix(), ops.DeleteRow{Namespace: k.Namespace, Name: k.Name, UID: p.UID})
		}
	}
	d := f.deployment("web")
	d.Spec.Paused = false
	if d.Spec.Template.Spec.Containers[0].Image == badImage {
		d.Spec.Template.Spec.Containers[0].Image = "v1"
	}
	f.put(Deployments, d)
	for range 12 {
		f.converge()
		f.checkRested()
		for _, p := range f.pods {
			if ofJob(p) && p.Node != "" && !p.Terminal() {
				f.setStatus(p, corev1.PodSucceeded, false)
			}
		}
		f.now = f.now.Add(time.Minute)
	}
	f.converge()
}

// checkRecovered holds in the end.
func (f *fleet) checkRecovered() {
	d := f.deployment("web")
	want, nodes := *d.Spec.Replicas, map[string]int{}
	for _, p := range f.mine("web") {
		if !p.Status.Ready() || p.Deleting() || p.Spec().Containers[0].Image != d.Spec.Template.Spec.Containers[0].Image {
			f.fail("pod %s on %q is not what it should be", p.Name, p.Node)
		}
		nodes[p.Node]++
	}
	if s := d.Status; s.AvailableReplicas != want || s.UpdatedReplicas != want || s.Replicas != want {
		f.fail("%d pods are wanted, the status is %+v", want, s)
	}
	for _, o := range f.list(Nodes) {
		if pods := f.byNode("log")[o.name]; len(pods) != 1 {
			f.fail("node %s has %v of the DaemonSet", o.name, pods)
		}
	}
	j := f.job("batch")
	if !slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	}) {
		f.fail("the job has not ended: %+v", j.Status)
	}
	f.inherit()
}

// TestFleets: whatever users, nodes, pods and leaders do at the same time to workloads of all kinds, each keeps what it promises, and
// after it all is as it should be. Invariants 30, 32, 36, 37, 89 and 215.
func TestFleets(t *testing.T) {
	most := 25
	if *fleets {
		most = 60
	}
	rapid.Check(t, func(t *rapid.T) {
		f := newFleet(t)
		stop := f.losing(t)
		for range rapid.IntRange(1, most).Draw(t, "actions") {
			f.happen()
			switch rapid.IntRange(0, 2).Draw(t, "then") {
			case 0:
				f.settle()
				f.checkRested()
			case 1:
				f.step()
			}
			if rapid.Bool().Draw(t, "work") {
				f.work()
			}
			f.now = f.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
		}
		stop()
		f.recover()
		f.checkRecovered()
	})
}
