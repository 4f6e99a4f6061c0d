package reconcile

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
)

// Leases is what the leader knows of the leases without which nodes stop the pods that must not run twice.
type Leases interface {
	// Allow lets a node have leases again, Bar gives it none any more and says when its last one has ended.
	Allow(node string)
	Bar(node string) time.Time
}

// trust tells the leases whether the engine may decide to replace pods of a node: a node has leases as long as it may not.
func (e *Engine) trust(node string) {
	switch {
	case e.cfg.Leases == nil:
	case e.nodeDown(node) || e.object(Nodes, "", node) == nil:
		e.cfg.Leases.Bar(node)
	default:
		e.cfg.Leases.Allow(node)
	}
}

// claims reads from the model for api.ReplacementOf.
type claims struct{ e *Engine }

// Claim implements api.Storage.
func (c claims) Claim(namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return asClaim(c.e.object(Claims, namespace, name)), nil
}

// Volume implements api.Storage.
func (c claims) Volume(name string) (*corev1.PersistentVolume, error) {
	return asVolume(c.e.object(Volumes, "", name)), nil
}

// replacement says what may be done for a pod of a node that is dead or gone.
func (e *Engine) replacement(p *pod) api.Replacement {
	if p.rec.Terminal() {
		return api.Stays
	}
	r, _ := api.ReplacementOf(p.rec.Template.Pod, claims{e}) // the pod's own name and node do not matter, and the model has no errors
	return r
}

// leaseEnded says whether a node that the engine has given up must have stopped the pods that it guards. If not yet, the key is
// looked at again when it must.
func (e *Engine) leaseEnded(k key) bool {
	if e.cfg.Leases == nil {
		return false
	}
	at := e.cfg.Leases.Bar(k.name)
	if !at.After(e.now) {
		return true
	}
	e.wake(k, at)
	return false
}

// guarded says whether the node stops the pod when it hears of no leader: it has said so, or it does so in general and no
// container of the pod had been started when it was last heard of.
func (e *Engine) guarded(p *pod) bool {
	s := p.rec.DecodeStatus()
	if podCondition(&s, api.FencedCondition) != nil {
		return true
	}
	o := e.object(Nodes, "", p.rec.Node)
	return o != nil && o.meta.GetAnnotations()[api.NodeFencesAnnotation] == "true" && !anyStarted(&s)
}

func anyStarted(s *corev1.PodStatus) bool {
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].ContainerID != "" {
				return true
			}
		}
	}
	return false
}

// moveFenced removes a pod whose node has stopped it, or was to.
func (e *Engine) moveFenced(p *pod) {
	if p.doom == gone {
		return
	}
	e.podEvent(p.ns(), p.name(), p.rec.UID, corev1.EventTypeNormal, "Fenced",
		"Removing the pod from node "+p.rec.Node+", which has not had a lease for the fencing time: it has ended there")
	e.doomPod(p, 0)
}
