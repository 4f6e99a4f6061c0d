package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// recorder turns what happens to pods into core/v1 Events. Equal ones are counted in one object; a token
// bucket bounds how many the node writes, so that a crashing pod cannot fill the log.
type recorder struct {
	node   string
	writer *statusWriter
	quiet  bool
	signal chan struct{} // capacity 1: there is something to flush

	mu     sync.Mutex
	known  map[string]*corev1.Event // by name, for counting
	dirty  map[string]*corev1.Event // to be written
	tokens float64
	filled time.Time
}

func newRecorder(node string, writer *statusWriter, quiet bool) *recorder {
	return &recorder{node: node, writer: writer, quiet: quiet, signal: make(chan struct{}, 1), known: map[string]*corev1.Event{}, dirty: map[string]*corev1.Event{}, tokens: eventsBurst}
}

// record notes an event of a pod. FieldPath names the container ("spec.containers{web}") or is empty.
func (r *recorder) record(pod *corev1.Pod, fieldPath, kind, reason, message string) {
	if r.quiet && kind == corev1.EventTypeNormal {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	name := eventName(pod, fieldPath, kind, reason, message)
	if old := r.known[name]; old != nil {
		e := old.DeepCopy()
		e.Count++
		e.LastTimestamp = metaTime(now)
		r.known[name] = e
		if r.allow(now) { // else the count goes out with the next one
			r.dirty[name] = e
			r.poke()
		}
		return
	}
	if !r.allow(now) {
		return
	}
	if len(r.known) >= eventsKept {
		r.forgetOld(now)
	}
	e := r.event(pod, fieldPath, kind, reason, message, name, now)
	r.known[name], r.dirty[name] = e, e
	r.poke()
}

// started says of the node that its agent has started. What the node says of itself later the cluster's leader tells, which sees it change.
func (r *recorder) started() {
	if r.quiet {
		return
	}
	r.ofNode(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
}

// ofNode notes an event of the node itself, each for itself.
func (r *recorder) ofNode(kind, reason, message string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	// Events about nodes are in the default namespace, and by an old custom those of an agent have the node's name for its UID.
	node := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: r.node, UID: types.UID(r.node)}}
	name := eventName(node, "", kind, reason, now.String())
	e := r.event(node, "", kind, reason, message, name, now)
	e.InvolvedObject.Kind = "Node"
	e.InvolvedObject.Namespace = ""
	r.dirty[name] = e
	r.poke()
}

func (r *recorder) poke() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

func (r *recorder) event(pod *corev1.Pod, fieldPath, kind, reason, message, name string, now time.Time) *corev1.Event {
	t := metaTime(now)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: name, UID: types.UID(eventUID(name, now)), CreationTimestamp: t},
		InvolvedObject: corev1.ObjectReference{
			Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath,
		},
		Reason: reason, Message: message, Type: kind, Count: 1, FirstTimestamp: t, LastTimestamp: t,
		Source:              corev1.EventSource{Component: "kubelet", Host: r.node},
		ReportingController: "kubelet", ReportingInstance: r.node,
	}
}

// eventName is the same for equal events, so that also an agent that starts again adds to them.
func eventName(pod *corev1.Pod, parts ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s/%q", pod.UID, parts)
	return pod.Name + "." + hex.EncodeToString(h.Sum(nil)[:8])
}

func eventUID(name string, now time.Time) string {
	h := sha256.Sum256([]byte(name + now.String()))
	x := hex.EncodeToString(h[:16])
	return x[:8] + "-" + x[8:12] + "-4" + x[13:16] + "-a" + x[17:20] + "-" + x[20:32]
}

// allow takes a token from the bucket.
func (r *recorder) allow(now time.Time) bool {
	if !r.filled.IsZero() {
		r.tokens = min(eventsBurst, r.tokens+eventsPerSecond*now.Sub(r.filled).Seconds())
	}
	r.filled = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// forgetOld makes room: events that have expired, or all if none has.
func (r *recorder) forgetOld(now time.Time) {
	for name, e := range r.known {
		if now.Sub(e.LastTimestamp.Time) > eventTTL {
			delete(r.known, name)
		}
	}
	if len(r.known) >= eventsKept {
		clear(r.known)
	}
}

// run hands events to the writer until ctx ends.
func (r *recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.signal:
		}
		sleep(ctx, eventFlush) // what happens now mostly has company
		if list := r.flush(); len(list) > 0 {
			r.writer.addEvents(list)
		}
	}
}

func (r *recorder) flush() []ops.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []ops.Op
	for _, e := range r.dirty {
		list = append(list, &ops.Put{Resource: schema.GroupResource{Resource: "events"}, Object: e, Expect: ops.Any})
	}
	clear(r.dirty)
	return list
}
