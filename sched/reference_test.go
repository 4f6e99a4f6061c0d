package sched

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// reference places one pod after the other and looks at every node and every pod each time. It shares with the table what is not
// about other pods (tolerations, requests, the arithmetic of free shares) and nothing else.
type reference struct {
	table  *Table // for tie-breaks only
	packs  bool
	nodes  []*corev1.Node
	pods   []refPod
	spaces map[string]map[string]string
}

type refPod struct {
	uid     types.UID
	node    string
	pod     *corev1.Pod
	leaving bool
}

// refTerm is a term as the API has it, with the namespace of who asks.
type refTerm struct {
	space string
	by    *corev1.Pod
	corev1.PodAffinityTerm
}

func (r *reference) chooses(m refTerm, p *corev1.Pod) bool {
	in := slices.Contains(m.Namespaces, p.Namespace) || len(m.Namespaces) == 0 && m.NamespaceSelector == nil && p.Namespace == m.space
	if m.NamespaceSelector != nil {
		s, _ := metav1.LabelSelectorAsSelector(m.NamespaceSelector)
		in = in || s.Matches(labels.Set(r.spaces[p.Namespace]))
	}
	s, _ := metav1.LabelSelectorAsSelector(m.LabelSelector)
	in = in && s.Matches(labels.Set(p.Labels))
	for _, k := range m.MatchLabelKeys {
		if v, there := m.by.Labels[k]; there {
			in = in && p.Labels[k] == v
		}
	}
	for _, k := range m.MismatchLabelKeys {
		if v, there := m.by.Labels[k]; there {
			w, has := p.Labels[k]
			in = in && !(has && w == v)
		}
	}
	return in
}

// count is how many pods that satisfy are in the domain of n.
func (r *reference) count(key string, n *corev1.Node, satisfies func(refPod) bool) (sum int64) {
	v, there := n.Labels[key]
	for _, p := range r.pods {
		m := r.node(p.node)
		if w, has := m.Labels[key]; there && has && v == w && satisfies(p) {
			sum++
		}
	}
	return sum
}

func (r *reference) node(name string) *corev1.Node {
	for _, n := range r.nodes {
		if n.Name == name {
			return n
		}
	}
	return &corev1.Node{}
}

// refRow is what the pods on a node leave.
func (r *reference) row(n *corev1.Node) *row {
	var w row
	w.allocate(&room{}, &room{n.Status.Allocatable.Cpu().MilliValue(), n.Status.Allocatable.Memory().Value(), 0, n.Status.Allocatable.Pods().Value()})
	for _, p := range r.pods {
		if p.node == n.Name {
			w.add(newClass(p.pod), 1)
		}
	}
	return &w
}

func clean(n *corev1.Node, p *corev1.Pod) bool { return untolerated(n, &newClass(p).static) == nil }

func affine(n *corev1.Node, p *corev1.Pod) bool {
	ok, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n)
	return ok && err == nil
}

func terms(p *corev1.Pod, near bool) (out []refTerm) {
	a := p.Spec.Affinity
	var list []corev1.PodAffinityTerm
	if a != nil && near && a.PodAffinity != nil {
		list = a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if a != nil && !near && a.PodAntiAffinity != nil {
		list = a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	for _, m := range list {
		out = append(out, refTerm{p.Namespace, p, m})
	}
	return out
}

type refPull struct {
	refTerm
	weight int64
}

func pulls(p *corev1.Pod) (out []refPull) {
	a := p.Spec.Affinity
	if a != nil && a.PodAffinity != nil {
		for _, m := range a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			out = append(out, refPull{refTerm{p.Namespace, p, m.PodAffinityTerm}, int64(m.Weight)})
		}
	}
	if a != nil && a.PodAntiAffinity != nil {
		for _, m := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			out = append(out, refPull{refTerm{p.Namespace, p, m.PodAffinityTerm}, -int64(m.Weight)})
		}
	}
	return out
}

func spreadTerm(p *corev1.Pod, s *corev1.TopologySpreadConstraint) refTerm {
	return refTerm{p.Namespace, p, corev1.PodAffinityTerm{LabelSelector: s.LabelSelector, MatchLabelKeys: s.MatchLabelKeys}}
}

func spreadsOf(p *corev1.Pod, action corev1.UnsatisfiableConstraintAction) (out []*corev1.TopologySpreadConstraint) {
	for i := range p.Spec.TopologySpreadConstraints {
		if s := &p.Spec.TopologySpreadConstraints[i]; s.WhenUnsatisfiable == action {
			out = append(out, s)
		}
	}
	return out
}

// spreadCounts are the counts by value of the constraint's key, among nodes that count.
func (r *reference) spreadCounts(p *corev1.Pod, s *corev1.TopologySpreadConstraint) map[string]int64 {
	out := map[string]int64{}
	m := spreadTerm(p, s)
	for _, n := range r.nodes {
		counts := true
		for _, o := range spreadsOf(p, s.WhenUnsatisfiable) {
			_, has := n.Labels[o.TopologyKey]
			counts = counts && has
		}
		if s.NodeAffinityPolicy == nil || *s.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
			counts = counts && affine(n, p)
		}
		if s.NodeTaintsPolicy != nil && *s.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor {
			counts = counts && clean(n, p)
		}
		if !counts {
			continue
		}
		out[n.Labels[s.TopologyKey]] += 0
		for _, q := range r.pods {
			if q.node == n.Name && !q.leaving && r.chooses(m, q.pod) {
				out[n.Labels[s.TopologyKey]]++
			}
		}
	}
	return out
}

func (r *reference) fits(n *corev1.Node, p *corev1.Pod) bool {
	if !clean(n, p) || !affine(n, p) || n.Spec.Unschedulable || !r.row(n).takes(newClass(p)) {
		return false
	}
	for _, s := range spreadsOf(p, corev1.DoNotSchedule) {
		counts := r.spreadCounts(p, s)
		v, there := n.Labels[s.TopologyKey]
		low := int64(math.MaxInt64)
		for _, c := range counts {
			low = min(low, c)
		}
		if s.MinDomains != nil && len(counts) < int(*s.MinDomains) {
			low = 0
		}
		self := int64(0)
		if r.chooses(spreadTerm(p, s), p) {
			self = 1
		}
		if !there || counts[v]+self-low > int64(s.MaxSkew) {
			return false
		}
	}
	return r.near(n, p) && r.far(n, p)
}

func (r *reference) near(n *corev1.Node, p *corev1.Pod) bool {
	list := terms(p, true)
	all := func(q *corev1.Pod) bool {
		return !slices.ContainsFunc(list, func(m refTerm) bool { return !r.chooses(m, q) })
	}
	ok, any := true, false
	for _, m := range list {
		_, has := n.Labels[m.TopologyKey]
		if !has {
			return false
		}
		ok = ok && r.count(m.TopologyKey, n, func(q refPod) bool { return all(q.pod) }) > 0
		for _, o := range r.nodes {
			any = any || r.count(m.TopologyKey, o, func(q refPod) bool { return all(q.pod) }) > 0
		}
	}
	return ok || !any && all(p)
}

func (r *reference) far(n *corev1.Node, p *corev1.Pod) bool {
	for _, m := range terms(p, false) {
		if r.count(m.TopologyKey, n, func(q refPod) bool { return r.chooses(m, q.pod) }) > 0 {
			return false
		}
	}
	for _, q := range r.pods {
		for _, m := range terms(q.pod, false) {
			if r.chooses(m, p) && r.count(m.TopologyKey, n, func(o refPod) bool { return o.uid == q.uid }) > 0 {
				return false
			}
		}
	}
	return true
}

// draw is the weight of preferred affinity, both ways.
func (r *reference) draw(n *corev1.Node, p *corev1.Pod) (sum int64) {
	for _, m := range pulls(p) {
		sum += m.weight * r.count(m.TopologyKey, n, func(q refPod) bool { return r.chooses(m.refTerm, q.pod) })
	}
	for _, q := range r.pods {
		list := pulls(q.pod)
		for _, m := range terms(q.pod, true) {
			list = append(list, refPull{m, weightRequired})
		}
		for _, m := range list {
			if r.chooses(m.refTerm, p) {
				sum += m.weight * r.count(m.TopologyKey, n, func(o refPod) bool { return o.uid == q.uid })
			}
		}
	}
	return sum
}

// even is the crowdedness of soft spread; plain means that a label is missing, or that there is no such constraint.
func (r *reference) even(n *corev1.Node, p *corev1.Pod) (sum int64, plain bool) {
	list := spreadsOf(p, corev1.ScheduleAnyway)
	for _, s := range list {
		v, there := n.Labels[s.TopologyKey]
		if !there {
			return 0, true
		}
		counts := r.spreadCounts(p, s)
		sum += counts[v]*int64(math.Round(logScale*math.Log(float64(len(counts)+2)))) + int64(s.MaxSkew-1)*logScale
	}
	return sum, len(list) == 0
}

// place gives the pod a node; "" is none.
func (r *reference) place(uid types.UID, p *corev1.Pod) string {
	var open []*corev1.Node
	for _, n := range r.nodes {
		if r.fits(n, p) {
			open = append(open, n)
		}
	}
	var even, draw bounds
	for _, n := range open {
		draw.take(r.draw(n, p))
		if s, plain := r.even(n, p); !plain {
			even.take(s)
		}
	}
	best, top := "", uint64(0)
	for _, n := range open {
		c := newClass(p)
		score := r.row(n).free(c)
		if r.packs {
			score = scoreMax - score
		}
		for _, q := range r.pods {
			if q.node == n.Name && !r.packs && newClass(q.pod).owner == c.owner && c.owner != "" {
				score -= ownerPenalty
			}
		}
		score += draw.share(r.draw(n, p)) * weightPods
		if s, plain := r.even(n, p); !plain {
			score += even.least(s) * weightSpread
		}
		i := r.table.byName[n.Name]
		key := uint64(score+scoreBias)<<(keyTieBits+keyNodeBits) | uint64(r.table.rows[i].tie)<<keyNodeBits | uint64(i)
		if key > top {
			best, top = n.Name, key
		}
	}
	if best != "" {
		r.pods = append(r.pods, refPod{uid: uid, node: best, pod: p})
	}
	return best
}

// free is the mean share of cpu and memory that stays free once the pod is there, weighted.
func (r *row) free(c *class) int64 {
	return part(r.loadCPU-c.scoreCPU, r.perCPU) + part(r.loadMemory-c.scoreMemory, r.perMemory)
}
