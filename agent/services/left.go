package services

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Reached says that the model is now as the cluster was at a revision: everything before it has been told.
func (m *Model) Reached(revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.written()
	o.revision, o.ahead = max(o.revision, revision), false
	if m.next == nil {
		m.tellLocked()
	}
}

// tellLocked wakes those who wait for a change.
func (m *Model) tellLocked() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// Left waits until no service sends a pod, which is to end, new connections by this node's table. It returns the revision from
// which on that is so in every node's table, or 0 if it has been so for long: the pod was ready in no service.
func (m *Model) Left(ctx context.Context, pod *corev1.Pod) (revision uint64, err error) {
	for was := false; ; {
		m.mu.Lock()
		takes, leaves := m.live.standing(pod)
		ahead := m.live.ahead // by a moment
		if (takes || ahead) && m.changed == nil {
			m.changed = make(chan struct{})
		}
		revision, changed := m.live.revision, m.changed
		m.mu.Unlock()
		switch {
		case takes || ahead:
			was = was || takes
		case leaves || was:
			return revision, nil
		default:
			return 0, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// standing says whether a service sends the pod new connections, and whether one did until the pod's end began. A service that wants
// endpoints that are not ready goes on to send: nothing is to be waited for.
func (o *objects) standing(pod *corev1.Pod) (takes, leaves bool) {
	for n, s := range o.services {
		if n.namespace != pod.Namespace || !mayHave(s, pod) {
			continue
		}
		for _, slice := range o.slices[n] {
			for i := range slice.Endpoints {
				e := &slice.Endpoints[i]
				if e.TargetRef == nil || e.TargetRef.UID != pod.UID {
					continue
				}
				t, l := endpointStanding(e)
				takes, leaves = takes || t, leaves || l
			}
		}
	}
	return takes, leaves
}

// mayHave spares the look at slices that others' pods are in. What a service without a selector has is for others to say.
func mayHave(s *corev1.Service, pod *corev1.Pod) bool {
	for k, v := range s.Spec.Selector {
		if pod.Labels[k] != v {
			return false
		}
	}
	return true
}

func endpointStanding(e *discoveryv1.Endpoint) (takes, leaves bool) {
	c := &e.Conditions
	ready := isTrue(c.Ready, true)
	if isTrue(c.Terminating, false) {
		return false, isTrue(c.Serving, ready)
	}
	return ready, false
}

// isTrue reads a condition that may be unset.
func isTrue(b *bool, unset bool) bool {
	if b == nil {
		return unset
	}
	return *b
}
