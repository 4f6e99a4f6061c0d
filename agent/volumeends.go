package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// volumeEnds removes the directories of volumes that have come to their end, and then the volumes' objects. The objects are the list of
// what is to be done: an agent that starts again is told of each that is left.
type volumeEnds struct {
	a      *Agent
	signal chan struct{} // capacity 1: there is something in todo

	mu   sync.Mutex
	todo map[types.UID]*volumeEnd
}

type volumeEnd struct {
	volume *corev1.PersistentVolume
	retry  backoff
	at     time.Time
}

func newVolumeEnds(a *Agent) *volumeEnds {
	return &volumeEnds{a: a, signal: make(chan struct{}, 1), todo: map[types.UID]*volumeEnd{}}
}

// PutVolume tells the agent of a volume whose directory is on this node, as it is now.
func (a *Agent) PutVolume(v *corev1.PersistentVolume) {
	e := a.ends
	e.mu.Lock()
	defer e.mu.Unlock()
	if a.cfg.DataDir == "" || !api.LocalPathDoomed(v) || api.LocalPathNode(v) != a.cfg.NodeName {
		delete(e.todo, v.UID) // it may have been spared at the last moment
		return
	}
	if e.todo[v.UID] == nil {
		e.todo[v.UID] = &volumeEnd{volume: v}
	}
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// RemoveVolume tells the agent that the cluster has forgotten a volume: nothing of it is removed any more.
func (a *Agent) RemoveVolume(uid types.UID) {
	a.ends.mu.Lock()
	defer a.ends.mu.Unlock()
	delete(a.ends.todo, uid)
}

func (e *volumeEnds) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.signal:
		case <-timer.C:
		}
		if next := e.work(ctx, time.Now()); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// work does what is due and tells when there is more.
func (e *volumeEnds) work(ctx context.Context, now time.Time) (next time.Time) {
	for _, end := range e.list() {
		if end.at.After(now) {
			next = earlier(next, end.at)
			continue
		}
		err := e.a.endVolume(ctx, end.volume)
		if err == nil {
			e.mu.Lock()
			delete(e.todo, end.volume.UID)
			e.mu.Unlock()
			continue
		}
		if ctx.Err() != nil {
			return time.Time{}
		}
		e.a.log.Warn("removing a volume; trying again", "volume", end.volume.Name, "error", err)
		end.retry.next(volumeEndRetryFirst, volumeEndRetryMax)
		end.at = now.Add(end.retry.Delay)
		next = earlier(next, end.at)
	}
	return next
}

func (e *volumeEnds) list() (out []*volumeEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, end := range e.todo {
		out = append(out, end)
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// endVolume removes the directory, then the object. Only what is where this node keeps such volumes is ever removed.
func (a *Agent) endVolume(ctx context.Context, v *corev1.PersistentVolume) error {
	dir := filepath.Join(a.localVolumes(), filepath.Base(v.Name))
	if v.Spec.Local.Path != dir {
		return a.cannotEnd(ctx, v, fmt.Errorf("%s is not where this node keeps its volumes", v.Spec.Local.Path))
	}
	if err := os.RemoveAll(dir); err != nil {
		return a.cannotEnd(ctx, v, err)
	}
	return a.cfg.ControlPlane.Write(ctx, []ops.Op{&ops.Delete{Resource: schema.GroupResource{Resource: "persistentvolumes"},
		Name: v.Name, UID: v.UID, Expect: ops.Any}})
}

// cannotEnd says so where people look for it, and returns the reason.
func (a *Agent) cannotEnd(ctx context.Context, v *corev1.PersistentVolume, why error) error {
	now := metaTime(time.Now())
	name := fmt.Sprintf("%s.%s", v.Name, eventUID(v.Name, time.Time{})[:8])
	ev := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name, UID: types.UID(eventUID(name, now.Time)), CreationTimestamp: now},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolume", Name: v.Name, UID: v.UID},
		Reason:         "VolumeFailedDelete", Message: why.Error(), Type: corev1.EventTypeWarning, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		Source:              corev1.EventSource{Component: api.LocalPathProvisioner, Host: a.cfg.NodeName},
		ReportingController: api.LocalPathProvisioner, ReportingInstance: a.cfg.NodeName,
	}
	if err := a.cfg.ControlPlane.Write(ctx, []ops.Op{&ops.Put{Resource: schema.GroupResource{Resource: "events"}, Object: ev, Expect: ops.Any}}); err != nil {
		a.log.Warn("telling why a volume cannot be removed", "volume", v.Name, "error", err)
	}
	return why
}
