package reconcile

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Annotations that deployments and their ReplicaSets carry.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	mostAnnotation            = "deployment.kubernetes.io/max-replicas"
	rollbackAnnotation        = "deprecated.deployment.rollback.to"
)

// notCopied are the deployment's annotations that say nothing about its ReplicaSets.
var notCopied = []string{
	corev1.LastAppliedConfigAnnotation, revisionAnnotation, revisionHistoryAnnotation,
	desiredAnnotation, mostAnnotation, rollbackAnnotation,
}

func revisionOf(o metav1.Object) int64 {
	n, err := strconv.ParseInt(o.GetAnnotations()[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// nextRevision is one more than any other member's.
func (r *rollout) nextRevision() int64 {
	var n int64
	for _, m := range r.olds() {
		n = max(n, revisionOf(m.rs))
	}
	return n + 1
}

// adoptRevision numbers the member of today's template, if there is one, and the deployment after it.
func (r *rollout) adoptRevision() {
	if r.current == nil {
		return
	}
	rs := r.current.edit()
	r.copyAnnotations(rs)
	if n := r.nextRevision(); revisionOf(rs) < n {
		if was := rs.Annotations[revisionAnnotation]; was != "" {
			past := strings.FieldsFunc(rs.Annotations[revisionHistoryAnnotation], func(c rune) bool { return c == ',' })
			if !slices.Contains(past, was) {
				rs.Annotations[revisionHistoryAnnotation] = strings.Join(append(past, was), ",")
			}
		}
		rs.Annotations[revisionAnnotation] = strconv.FormatInt(n, 10)
	}
	if rs.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		rs.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		rs.Generation++
	}
	r.d.Annotations[revisionAnnotation] = rs.Annotations[revisionAnnotation]
	if r.condition(appsv1.DeploymentProgressing) == nil && r.hasDeadline() {
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "FoundNewReplicaSet",
			fmt.Sprintf("Found new replica set %q", rs.Name))
	}
}

func (r *rollout) copyAnnotations(rs *appsv1.ReplicaSet) {
	for k, v := range r.d.Annotations {
		if !slices.Contains(notCopied, k) {
			rs.Annotations[k] = v
		}
	}
}

// needCurrent makes sure that today's template has a ReplicaSet.
func (r *rollout) needCurrent() {
	if r.current == nil && !r.createCurrent() {
		return
	}
	r.adoptRevision()
}

// createCurrent makes the ReplicaSet of today's template. It reports false if its name belongs to
// another one; then the collision count, which is part of the hash, has been raised.
func (r *rollout) createCurrent() bool {
	hash := templateHash(&r.d.Spec.Template, r.d.Status.CollisionCount)
	name := r.d.Name + "-" + hash
	if r.e.object(ReplicaSets, r.d.Namespace, name) != nil {
		n := replicasOrZero(r.d.Status.CollisionCount) + 1
		r.d.Status.CollisionCount = &n
		return false
	}
	rs := r.newReplicaSet(name, hash)
	m := &member{rs: rs, pods: &flock{}, touched: true}
	r.copyAnnotations(rs)
	m.rs.Annotations[revisionAnnotation] = strconv.FormatInt(r.nextRevision(), 10)
	r.members = append(r.members, m)
	r.current = m
	n := r.roomForCurrent()
	rs.Spec.Replicas = &n
	r.annotateSize(rs)
	if r.hasDeadline() {
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetCreated",
			fmt.Sprintf("Created new replica set %q", name))
	}
	if n > 0 {
		r.sayScaled(rs.Name, 0, n)
	}
	return true
}

func replicasOrZero(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

func (r *rollout) newReplicaSet(name, hash string) *appsv1.ReplicaSet {
	t := r.d.Spec.Template.DeepCopy()
	t.Labels = withLabel(t.Labels, hash)
	selector := r.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withLabel(selector.MatchLabels, hash)
	zero := int32(0)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: r.d.Namespace, Labels: t.Labels, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.d, deploymentKind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &zero, MinReadySeconds: r.d.Spec.MinReadySeconds, Selector: selector, Template: *t,
		},
	}
	r.e.stamp(&rs.ObjectMeta)
	return rs
}

func withLabel(in map[string]string, hash string) map[string]string {
	out := maps.Clone(in)
	if out == nil {
		out = map[string]string{}
	}
	out[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return out
}

// templateHash names a template; the collision count gives the same template another name.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	h.Write(encodedTemplate(t))
	if collisions != nil {
		fmt.Fprintf(h, "%d", *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// cleanUp deletes the oldest idle members beyond the history limit.
func (r *rollout) cleanUp() {
	limit := int32(10)
	if r.d.Spec.RevisionHistoryLimit != nil {
		limit = *r.d.Spec.RevisionHistoryLimit
	}
	if limit == math.MaxInt32 {
		return
	}
	olds := slices.DeleteFunc(r.olds(), func(m *member) bool { return m.o == nil || m.rs.DeletionTimestamp != nil })
	slices.SortStableFunc(olds, func(a, b *member) int { return int(revisionOf(a.rs) - revisionOf(b.rs)) })
	for i := 0; i < len(olds)-int(limit); i++ {
		m := olds[i]
		if m.spec() != 0 || m.pods.active != 0 || m.rs.Status.Replicas != 0 || m.rs.Generation > m.rs.Status.ObservedGeneration {
			continue
		}
		m.touched = false
		r.members = slices.DeleteFunc(r.members, func(x *member) bool { return x == m })
		r.e.remove(m.o)
	}
}
