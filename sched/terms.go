package sched

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// term chooses pods by namespace and labels.
type term struct {
	key        string // says all of it, so that equal terms are counted once
	namespaces []string
	spaces     labels.Selector // of further namespaces by their labels; nil is none
	pods       labels.Selector
	anchor     label // one that every chosen pod has; the zero label if there is none
}

// label is one entry of a pod's labels.
type label struct{ key, value string }

func newTerm(namespaces []string, spaces *metav1.LabelSelector, pods labels.Selector) *term {
	m := &term{namespaces: slices.Clone(namespaces), pods: pods, anchor: anchorOf(pods)}
	slices.Sort(m.namespaces)
	said := "-"
	if spaces != nil {
		m.spaces = selectorOf(spaces)
		said = m.spaces.String()
	}
	m.key = fmt.Sprintf("%s|%s|%s", strings.Join(m.namespaces, ","), said, pods)
	if isNothing(pods) {
		m.key += "|nothing" // whose text is that of everything
	}
	return m
}

func isNothing(s labels.Selector) bool { _, some := s.Requirements(); return !some }

// selectorOf compiles a selector. One that is absent chooses nothing; so does a broken one, which validation refuses.
func selectorOf(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}

// anchorOf finds a label that whatever matches must have.
func anchorOf(s labels.Selector) label {
	list, _ := s.Requirements()
	for _, r := range list {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := r.ValuesUnsorted(); len(values) == 1 {
				return label{r.Key(), values[0]}
			}
		}
	}
	return label{}
}

// chooses says whether the term chooses pods of the class. Spaces gives the labels of a namespace.
func (m *term) chooses(c *class, spaces map[string]labels.Set) bool {
	if !slices.Contains(m.namespaces, c.namespace) && (m.spaces == nil || !m.spaces.Matches(spaces[c.namespace])) {
		return false
	}
	return m.pods.Matches(labels.Set(c.labels))
}

// withKeys narrows a selector to pods that agree with p (or, for mismatch, differ from it) in the labels of these keys. Keys that p lacks
// are passed over.
func withKeys(s labels.Selector, p *corev1.Pod, match, mismatch []string) labels.Selector {
	add := func(keys []string, op selection.Operator) {
		for _, k := range keys {
			v, there := p.Labels[k]
			if r, err := labels.NewRequirement(k, op, []string{v}); there && err == nil {
				s = s.Add(*r)
			}
		}
	}
	add(match, selection.In)
	add(mismatch, selection.NotIn)
	return s
}

// wishes are what a pod says about where other pods are.
type wishes struct {
	spread   []spreadWish
	together []affinityWish // required: near the pods that all of these terms choose
	apart    []affinityWish // required: away from the pods of each term
	pulls    []affinityWish // preferred; those to be apart have negative weights
}

// any says whether there is any wish.
func (w *wishes) any() bool {
	return len(w.spread)+len(w.together)+len(w.apart)+len(w.pulls) > 0
}

// spreadWish is a topology spread constraint.
type spreadWish struct {
	*term
	topology      string
	must          bool // otherwise it counts in the score only
	maxSkew       int32
	minDomains    int32
	anyAffinity   bool // nodes count that the pod's node affinity excludes
	honoursTaints bool // nodes with taints that the pod does not tolerate do not count
}

// affinityWish is a term of affinity or, if apart, of anti-affinity.
type affinityWish struct {
	*term
	topology string
	weight   int32
}

func newWishes(p *corev1.Pod) (w wishes) {
	for i := range p.Spec.TopologySpreadConstraints {
		w.spread = append(w.spread, newSpreadWish(p, &p.Spec.TopologySpreadConstraints[i]))
	}
	a := p.Spec.Affinity
	if a == nil {
		return w
	}
	if near := a.PodAffinity; near != nil {
		w.together = affinityWishes(p, near.RequiredDuringSchedulingIgnoredDuringExecution)
		w.pulls = appendPulls(w.pulls, p, near.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if far := a.PodAntiAffinity; far != nil {
		w.apart = affinityWishes(p, far.RequiredDuringSchedulingIgnoredDuringExecution)
		w.pulls = appendPulls(w.pulls, p, far.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	return w
}

func newSpreadWish(p *corev1.Pod, c *corev1.TopologySpreadConstraint) spreadWish {
	pods := withKeys(selectorOf(c.LabelSelector), p, c.MatchLabelKeys, nil)
	w := spreadWish{
		term: newTerm([]string{p.Namespace}, nil, pods), topology: c.TopologyKey,
		must: c.WhenUnsatisfiable == corev1.DoNotSchedule, maxSkew: c.MaxSkew, minDomains: 1,
		anyAffinity:   c.NodeAffinityPolicy != nil && *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyIgnore,
		honoursTaints: c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
	}
	if c.MinDomains != nil {
		w.minDomains = *c.MinDomains
	}
	return w
}

func affinityWishes(p *corev1.Pod, list []corev1.PodAffinityTerm) (out []affinityWish) {
	for i := range list {
		out = append(out, newAffinityWish(p, &list[i], 0))
	}
	return out
}

func appendPulls(out []affinityWish, p *corev1.Pod, list []corev1.WeightedPodAffinityTerm, sign int32) []affinityWish {
	for i := range list {
		out = append(out, newAffinityWish(p, &list[i].PodAffinityTerm, sign*list[i].Weight))
	}
	return out
}

// newAffinityWish reads a term; one that names no namespaces means the pod's own.
func newAffinityWish(p *corev1.Pod, t *corev1.PodAffinityTerm, weight int32) affinityWish {
	namespaces := t.Namespaces
	if len(namespaces) == 0 && t.NamespaceSelector == nil {
		namespaces = []string{p.Namespace}
	}
	pods := withKeys(selectorOf(t.LabelSelector), p, t.MatchLabelKeys, t.MismatchLabelKeys)
	return affinityWish{newTerm(namespaces, t.NamespaceSelector, pods), t.TopologyKey, weight}
}
