package reconcile

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const reasonTaintEviction = "TaintManagerEviction"

// endForTaint deletes a pod whose time on a tainted node is up, and says in its status why.
func (e *Engine) endForTaint(p *pod) {
	delete(e.sentenced, p.rec.UID)
	e.podEvent(p.ns(), p.name(), p.rec.UID, corev1.EventTypeNormal, reasonTaintEviction, "Marking for deletion Pod "+p.ns()+"/"+p.name())
	e.target(p, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
	e.doomPod(p, -1)
}

// target says in a pod's status what disrupts it. The deletion that follows in the same step needs no revision, so it holds although
// the status is another one by then.
func (e *Engine) target(p *pod, reason, message string) {
	s := p.rec.DecodeStatus()
	setPodCondition(&s, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		ObservedGeneration: p.rec.Generation, LastTransitionTime: metav1.NewTime(e.now.Truncate(time.Second))})
	e.putPodStatus(p, &s)
}

// reconsider lets a pod that was to go be looked at when its node's taints have changed.
func (e *Engine) reconsider(p *pod) {
	if e.sentenced[p.rec.UID] != nil {
		e.mark(key{area: areaEviction, ns: p.ns(), name: p.name()})
	}
}

// reprieve tells that a pod that was to go stays after all.
func (e *Engine) reprieve(p *pod) {
	if e.sentenced[p.rec.UID] == nil {
		return
	}
	delete(e.sentenced, p.rec.UID)
	e.podEvent(p.ns(), p.name(), p.rec.UID, corev1.EventTypeNormal, reasonTaintEviction, "Cancelling deletion of Pod "+p.ns()+"/"+p.name())
}
