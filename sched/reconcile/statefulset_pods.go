package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// createMissing makes the missing pods whose claims are there.
func (s *ensemble) createMissing() {
	byRevision := map[string][]int{}
	for _, i := range s.missing {
		if s.nameFree(i) && s.claimsReady(i) {
			name := s.revisionFor(i)
			byRevision[name] = append(byRevision[name], i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byRevision)) {
		s.create(name, byRevision[name])
	}
}

// nameFree says whether nobody else's pod has the name.
func (s *ensemble) nameFree(i int) bool {
	name := s.podName(i)
	if s.e.pod(s.set.Namespace, name) == nil {
		return true
	}
	s.saidFailed(name, fmt.Sprintf("pods %q already exists", name))
	return false
}

// revisionFor is the revision that a new pod gets: below the partition the one from before the update.
func (s *ensemble) revisionFor(i int) string {
	if s.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && i < s.partition() {
		return s.status.CurrentRevision
	}
	return s.update.Name
}

func (s *ensemble) templateOf(revision string) *corev1.PodTemplateSpec {
	if revision != s.update.Name {
		if r := s.chronicle.find(revision); r != nil {
			if t := templateIn(r); t != nil {
				return t
			}
		}
	}
	return &s.set.Spec.Template
}

// create plans pods of one revision. They are admitted and placed as one, by the one with the longest name, and then get what is their own.
func (s *ensemble) create(revision string, indexes []int) {
	base := s.e.podOf(s.w, s.templateOf(revision))
	base.Labels = maps.Clone(base.Labels)
	if base.Labels == nil {
		base.Labels = map[string]string{}
	}
	base.Labels[appsv1.ControllerRevisionHashLabelKey] = revision
	last := indexes[len(indexes)-1]
	s.identify(base, last)
	base.Name = s.podName(last)
	if why, ok := s.e.admit(s.w, base); !ok {
		if why != "" {
			s.e.refused[s.w.ref] = why
			s.saidFailed(s.podName(last), why)
		}
		return
	}
	template, err := api.NewPodTemplate(base)
	if err != nil {
		s.saidFailed(s.podName(last), err.Error())
		return
	}
	rows := make([]ops.PlanRow, len(indexes))
	for n, i := range indexes {
		rows[n] = ops.PlanRow{Suffix: strconv.Itoa(s.first() + i), UID: s.e.names.uid()}
	}
	s.e.placeRows(template, rows)
	for n, i := range indexes {
		p := *template.Pod
		s.identify(&p, i)
		for _, g := range s.e.byPlace(&p, rows[n:n+1]) {
			s.e.plans = append(s.e.plans, &ops.PlanPods{Template: g.pod, Created: s.e.now.Unix(), Rows: g.rows})
		}
	}
	s.acted = true
	s.saidCreated(rows)
}

// identify gives a pod what is its own: host name, labels and claims. What others share is replaced, not written to.
func (s *ensemble) identify(p *corev1.Pod, index int) {
	name := s.podName(index)
	p.Labels = maps.Clone(p.Labels)
	s.label(p.Labels, index)
	p.Spec.Hostname, p.Spec.Subdomain = name, s.set.Spec.ServiceName
	p.Spec.Volumes = s.volumes(p.Spec.Volumes, index)
}

func (s *ensemble) label(labels map[string]string, index int) {
	labels[appsv1.StatefulSetPodNameLabel] = s.podName(index)
	labels[appsv1.PodIndexLabel] = strconv.Itoa(s.first() + index)
}

// volumes are those of the claims, and then the template's others.
func (s *ensemble) volumes(list []corev1.Volume, index int) []corev1.Volume {
	templates := s.set.Spec.VolumeClaimTemplates
	if len(templates) == 0 {
		return list
	}
	out, claimed := make([]corev1.Volume, 0, len(list)+len(templates)), map[string]bool{}
	for i := range templates {
		t := &templates[i]
		claimed[t.Name] = true
		out = append(out, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.claimName(t, index)}}})
	}
	for _, v := range list {
		if !claimed[v.Name] {
			out = append(out, v)
		}
	}
	return out
}

// identified gives an adopted pod, or one whose labels somebody has taken away, the labels that are its own. It reports whether it has them.
func (s *ensemble) identified(index int, p *pod) bool {
	labels := p.rec.Labels()
	if labels[appsv1.StatefulSetPodNameLabel] == p.name() && labels[appsv1.PodIndexLabel] == strconv.Itoa(s.first()+index) {
		return true
	}
	if s.e.written[ref{Pods, p.ns(), p.name()}] {
		return false
	}
	np := p.rec.Pod()
	np.Labels = maps.Clone(labels)
	if np.Labels == nil {
		np.Labels = map[string]string{}
	}
	s.label(np.Labels, index)
	s.e.put(Pods, np, p.rec.Revision)
	return false
}

// remove deletes a pod in its own time.
func (s *ensemble) remove(p *pod) {
	s.e.doomPod(p, -1)
	s.acted = true
	s.say(corev1.EventTypeNormal, "SuccessfulDelete", fmt.Sprintf("delete Pod %s in StatefulSet %s successful", p.name(), s.set.Name))
}

func (s *ensemble) saidCreated(rows []ops.PlanRow) {
	if s.e.asked[s.w.ref] {
		return // see Answered
	}
	single := s.e.mayTell(len(rows), 2)
	if !single && len(rows) != 1 {
		s.say(corev1.EventTypeNormal, "SuccessfulCreate", fmt.Sprintf("create %d Pods in StatefulSet %s successful", len(rows), s.set.Name))
		return
	}
	for _, r := range rows {
		name := s.set.Name + "-" + r.Suffix
		s.say(corev1.EventTypeNormal, "SuccessfulCreate", fmt.Sprintf("create Pod %s in StatefulSet %s successful", name, s.set.Name))
		if single && r.Node != "" {
			s.e.podEvent(s.set.Namespace, name, r.UID, corev1.EventTypeNormal, "Scheduled",
				fmt.Sprintf("Successfully assigned %s/%s to %s", s.set.Namespace, name, r.Node))
		}
	}
}

func (s *ensemble) saidFailed(pod, why string) {
	s.say(corev1.EventTypeWarning, reasonRefused, fmt.Sprintf("create Pod %s in StatefulSet %s failed error: %s", pod, s.set.Name, why))
}

// nameFreed marks the StatefulSet that may have waited for a pod's name.
func (e *Engine) nameFreed(p *pod) {
	if k, ok := e.ensembleKey(p.ns(), p.name()); ok {
		e.mark(k)
	}
}

// ensembleKey is that of the StatefulSet one of whose pods has, or would have, the name.
func (e *Engine) ensembleKey(ns, pod string) (k key, ok bool) {
	set, ok := withoutOrdinal(pod)
	return key{area: areaStatefulSet, ns: ns, name: set}, ok && e.object(StatefulSets, ns, set) != nil
}

// withoutOrdinal cuts a name's number off.
func withoutOrdinal(name string) (rest string, ok bool) {
	i := len(name)
	for i > 0 && name[i-1] >= '0' && name[i-1] <= '9' {
		i--
	}
	if i < 2 || i == len(name) || name[i-1] != '-' {
		return "", false
	}
	return name[:i-1], true
}
