package reconcile

import (
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// recorder gathers the events of a step. An object keeps a bounded number of Event objects a
// reason: their names are made of the reason and a slot that the message chooses, so the same
// thing said again counts up. Of few slots a new thing takes one that is free, and only then the one that was used longest ago.
type recorder struct {
	order []ref
	said  map[ref]*corev1.Event
}

func newRecorder() recorder { return recorder{said: map[ref]*corev1.Event{}} }

// event says something about an observed object.
func (e *Engine) event(about metav1.Object, gvk schema.GroupVersionKind, kind, reason, component, message string) {
	e.say(corev1.ObjectReference{
		APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind,
		Namespace: about.GetNamespace(), Name: about.GetName(), UID: about.GetUID(),
		ResourceVersion: about.GetResourceVersion(),
	}, kind, reason, component, message)
}

// podEvent says something about a pod, in the scheduler's name.
func (e *Engine) podEvent(ns, name string, uid types.UID, kind, reason, message string) {
	e.say(corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: ns, Name: name, UID: uid},
		kind, reason, corev1.DefaultSchedulerName, message)
}

func (e *Engine) say(about corev1.ObjectReference, kind, reason, component, message string) {
	ns := about.Namespace
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	if e.terminating(ns) {
		return
	}
	r := e.eventRef(ns, &about, reason, message)
	if said := e.recorder.said[r]; said != nil && said.Message == message {
		return
	}
	ev := e.newEvent(r, message)
	ev.InvolvedObject, ev.Type, ev.Reason, ev.Message = about, kind, reason, message
	ev.Source.Component, ev.ReportingController = component, component
	if e.recorder.said[r] == nil {
		e.recorder.order = append(e.recorder.order, r)
	}
	e.recorder.said[r] = ev
}

// newEvent is the event object that exists already, counted up, or a new one.
func (e *Engine) newEvent(r ref, message string) *corev1.Event {
	now := metav1.NewTime(e.now.Truncate(time.Second))
	ev := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: r.name}, FirstTimestamp: now, Count: 1}
	if o := e.objects[r]; o != nil {
		if old := o.obj.(*corev1.Event); old.Message == message {
			ev.ObjectMeta, ev.FirstTimestamp, ev.Count = old.ObjectMeta, old.FirstTimestamp, old.Count+1
		}
	}
	if ev.UID == "" {
		e.stamp(&ev.ObjectMeta)
		ev.Generation = 0
	}
	ev.LastTimestamp = now
	return ev
}

// eventRef is where an object's event of a reason and message is kept.
func (e *Engine) eventRef(ns string, about *corev1.ObjectReference, reason, message string) ref {
	h := fnv.New64a()
	h.Write([]byte(message))
	first := h.Sum64()
	if reason != "SuccessfulCreate" && reason != "SuccessfulDelete" {
		return ref{Events, ns, eventName(about, reason, first%eventSlots)}
	}
	oldest, last := ref{}, metav1.Time{}
	for i := range uint64(podEventSlots) {
		r := ref{Events, ns, eventName(about, reason, (first+i)%podEventSlots)}
		old := e.keptEvent(r)
		if old == nil || old.Message == message {
			return r
		}
		if i == 0 || old.LastTimestamp.Before(&last) {
			oldest, last = r, old.LastTimestamp
		}
	}
	return oldest
}

// keptEvent is the event of a name as it is, or will be after this step; nil if there is none.
func (e *Engine) keptEvent(r ref) *corev1.Event {
	if said := e.recorder.said[r]; said != nil {
		return said
	}
	if o := e.objects[r]; o != nil {
		return o.obj.(*corev1.Event)
	}
	return nil
}

func eventName(about *corev1.ObjectReference, reason string, slot uint64) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%s/%d", about.Kind, about.UID, reason, slot)
	return fmt.Sprintf("%s.%016x", about.Name, h.Sum64())
}

func (e *Engine) flushEvents() []ops.Op {
	var out []ops.Op
	for _, r := range e.recorder.order {
		out = append(out, &ops.Put{Resource: Events, Object: e.recorder.said[r], Expect: ops.Any})
	}
	e.recorder = newRecorder()
	return out
}
