package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// syncBudget writes what the budget allows now.
func (e *Engine) syncBudget(k key) {
	o, b := e.object(Budgets, k.ns, k.name), e.budgets[k.ns][k.name]
	if o == nil || b == nil || e.written[o.ref] {
		return
	}
	pdb := o.obj.(*policyv1.PodDisruptionBudget)
	if pdb.DeletionTimestamp != nil {
		return
	}
	next, trouble := e.budgetStatus(pdb, b, k)
	if equality.Semantic.DeepEqual(*next, pdb.Status) {
		return // and what there is to say has been said
	}
	say := func(kind, reason, message string) { e.event(pdb, budgetGVK, kind, reason, budgetComponent, message) }
	if len(b.members) == 0 {
		say(corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if trouble != nil {
		say(corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: "+trouble.Error())
	}
	if b.owners[""] != nil && wantsScale(pdb) {
		say(corev1.EventTypeWarning, "UnmanagedPods", fmt.Sprintf(
			"Pods selected by this PodDisruptionBudget (selector: %v) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
				"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", metav1.FormatLabelSelector(pdb.Spec.Selector)))
	}
	out := *pdb
	out.Status = *next
	e.put(Budgets, &out, o.rev)
}

const budgetComponent = "controllermanager"

var budgetGVK = policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget")

// budgetStatus counts. A budget of which it is not known how many pods there should be allows nothing.
func (e *Engine) budgetStatus(pdb *policyv1.PodDisruptionBudget, b *budget, k key) (*policyv1.PodDisruptionBudgetStatus, error) {
	s := pdb.Status.DeepCopy()
	s.ObservedGeneration = pdb.Generation
	expected, desired, err := e.expectedPods(pdb, b)
	if err != nil {
		s.DisruptionsAllowed = 0
		e.allowDisruption(s, metav1.ConditionFalse, policyv1.SyncFailedReason, err.Error())
		return s, err
	}
	healthy := b.healthy - e.keepDisrupted(pdb, b, s, k)
	allowed := max(0, healthy-desired)
	if expected <= 0 {
		allowed = 0
	}
	s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods, s.DisruptionsAllowed = int32(healthy), int32(desired), int32(expected), int32(allowed)
	if allowed > 0 {
		e.allowDisruption(s, metav1.ConditionTrue, policyv1.SufficientPodsReason, "")
	} else {
		e.allowDisruption(s, metav1.ConditionFalse, policyv1.InsufficientPodsReason, "")
	}
	return s, nil
}

func (e *Engine) allowDisruption(s *policyv1.PodDisruptionBudgetStatus, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: status, Reason: reason, Message: message,
		ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.NewTime(e.now.Truncate(time.Second)),
	})
}

// keepDisrupted drops from the status the evicted pods that are on their way out by now, and those that should be and are not. It
// returns how many of those that it keeps still look healthy: their deletion has been decided and not yet been seen.
func (e *Engine) keepDisrupted(pdb *policyv1.PodDisruptionBudget, b *budget, s *policyv1.PodDisruptionBudgetStatus, k key) (healthy int) {
	var recheck time.Time
	s.DisruptedPods = nil
	for _, name := range slices.Sorted(maps.Keys(pdb.Status.DisruptedPods)) {
		p, at := e.pod(k.ns, name), pdb.Status.DisruptedPods[name]
		if p == nil || p.deleting() {
			continue
		}
		looksHealthy, member := b.members[p]
		if !member {
			continue
		}
		ends := at.Add(evictionTimeout)
		if ends.Before(e.now) {
			e.podEvent(k.ns, name, p.rec.UID, corev1.EventTypeWarning, "NotDeleted",
				fmt.Sprintf("Pod was expected by PDB %s/%s to be deleted but it wasn't", k.ns, k.name))
			continue
		}
		if s.DisruptedPods == nil {
			s.DisruptedPods = map[string]metav1.Time{}
		}
		s.DisruptedPods[name] = at
		if looksHealthy {
			healthy++
		}
		if recheck.IsZero() || ends.Before(recheck) {
			recheck = ends
		}
	}
	if !recheck.IsZero() {
		e.wake(k, recheck.Add(time.Millisecond))
	}
	return healthy
}

// expectedPods is how many pods there should be, and how many of them must be healthy.
func (e *Engine) expectedPods(pdb *policyv1.PodDisruptionBudget, b *budget) (expected, desired int, err error) {
	least, most := pdb.Spec.MinAvailable, pdb.Spec.MaxUnavailable
	if !wantsScale(pdb) {
		if least == nil {
			return 0, 0, nil
		}
		return len(b.members), int(least.IntVal), nil
	}
	if expected, err = e.wantedBy(pdb.Namespace, b); err != nil {
		return 0, 0, err
	}
	if most != nil {
		n, err := intstr.GetScaledValueFromIntOrPercent(most, expected, true)
		return expected, max(0, expected-n), err
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(least, expected, true)
	return expected, n, err
}

// wantsScale says whether the budget can only be counted with what the pods' controllers want.
func wantsScale(pdb *policyv1.PodDisruptionBudget) bool {
	least := pdb.Spec.MinAvailable
	return pdb.Spec.MaxUnavailable != nil || least != nil && least.Type == intstr.String
}

// wantedBy adds up what the controllers of the pods want. Pods without one count for nothing.
func (e *Engine) wantedBy(ns string, b *budget) (sum int, err error) {
	counted := map[types.UID]bool{}
	for _, uid := range slices.Sorted(maps.Keys(b.owners)) {
		if uid == "" {
			continue
		}
		top, n, err := e.scaleOf(ns, &b.owners[uid].controller)
		if err != nil {
			return 0, err
		}
		if top == "" {
			return 0, fmt.Errorf("found no controllers for pod %q", b.firstOf(uid))
		}
		if !counted[top] {
			counted[top] = true
			sum += n
		}
	}
	return sum, nil
}

// firstOf is the name of a controller's first member.
func (b *budget) firstOf(uid types.UID) (name string) {
	for p := range b.members {
		if of, _ := controllerUID(p); of == uid && (name == "" || p.name() < name) {
			name = p.name()
		}
	}
	return name
}

// scaleOf is who decides how many pods a controller has, and how many that one wants: for a ReplicaSet its Deployment. No UID if
// the controller is not there.
func (e *Engine) scaleOf(ns string, w *metav1.OwnerReference) (types.UID, int, error) {
	gv, _ := schema.ParseGroupVersion(w.APIVersion) // what is stored has been validated
	gk := schema.GroupKind{Group: gv.Group, Kind: w.Kind}
	gr, access := e.scalableKind(gk)
	if access == nil {
		return "", 0, fmt.Errorf("%s does not implement the scale subresource", cmp.Or(gr.String(), gk.String()))
	}
	o := e.object(gr, ns, w.Name)
	if o == nil || o.meta.GetUID() != w.UID {
		return "", 0, nil
	}
	if rs, ok := o.obj.(*appsv1.ReplicaSet); ok {
		if above := metav1.GetControllerOfNoCopy(rs); above != nil && above.Kind == "Deployment" {
			return e.scaleOf(ns, above)
		}
	}
	if err := access.Check(o.obj); err != nil {
		return "", 0, err
	}
	n, _, _ := access.Get(o.obj)
	return o.meta.GetUID(), int(n), nil
}
