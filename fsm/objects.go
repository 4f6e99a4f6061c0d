package fsm

import (
	"errors"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// put applies a Put and says why it did not.
func (f *FSM) put(o *ops.Put) (ops.Outcome, string) {
	m, err := meta.Accessor(o.Object)
	if err != nil {
		return ops.Invalid, err.Error()
	}
	key := makeKey(m.GetNamespace(), m.GetName())
	t := f.table(o.Resource)
	old, exists := t.get(key)
	if outcome := checkExpect(o.Expect, old.revision, exists); outcome != ops.Applied {
		return outcome, ""
	}
	if o.Resource == services {
		if outcome, detail := f.unique.claim(key, o.Object.(*corev1.Service)); outcome != ops.Applied {
			return outcome, detail
		}
	}
	if o.Resource == Pods {
		rec, err := f.recordOf(o.Object.(*corev1.Pod))
		if err != nil {
			return ops.Invalid, err.Error()
		}
		if exists {
			key = old.key
		}
		rec.Name = nameIn(key, m.GetNamespace())
		f.storePod(t, key, rec, old.pod)
		return ops.Applied, ""
	}
	f.storeObject(t, key, m, o.Object, old.obj)
	return ops.Applied, ""
}

func (f *FSM) storeObject(t *table, key string, m metav1.Object, obj, old runtime.Object) {
	f.revision++
	m.SetResourceVersion(strconv.FormatUint(f.revision, 10))
	t.set(item{key: key, revision: f.revision, obj: obj})
	f.commit(t, &api.Change{Resource: t.resource, Namespace: m.GetNamespace(), Name: m.GetName(), Old: old, New: obj})
}

// remove applies a Delete.
func (f *FSM) remove(o *ops.Delete) (ops.Outcome, string) {
	t := f.table(o.Resource)
	key := makeKey(o.Namespace, o.Name)
	old, exists := t.get(key)
	if !exists {
		return ops.NotFound, ""
	}
	if o.Expect != ops.Any {
		if outcome := checkExpect(o.Expect, old.revision, true); outcome != ops.Applied {
			return outcome, ""
		}
	}
	if o.UID != "" && o.UID != uidOf(old) {
		return ops.Conflict, ""
	}
	f.dropItem(t, old)
	return ops.Applied, ""
}

// dropItem removes one object of any kind.
func (f *FSM) dropItem(t *table, old item) {
	f.revision++
	t.drop(old.key)
	ns, name := splitKey(old.key)
	switch t.resource {
	case Pods:
		f.podIndex.remove(old.key, old.pod)
	case services:
		f.unique.release(old.key)
	}
	f.commit(t, &api.Change{Resource: t.resource, Namespace: ns, Name: name, Old: old.obj, OldPod: old.pod})
}

// checkExpect compares a precondition with what is stored.
func checkExpect(expect, revision uint64, exists bool) ops.Outcome {
	switch {
	case expect == ops.Any:
		return ops.Applied
	case expect == ops.Absent:
		if exists {
			return ops.Found
		}
		return ops.Applied
	case !exists:
		return ops.NotFound
	case expect == ops.Exists || expect == revision:
		return ops.Applied
	}
	return ops.Conflict
}

func uidOf(it item) types.UID {
	if it.pod != nil {
		return it.pod.UID
	}
	if m, err := meta.Accessor(it.obj); err == nil {
		return m.GetUID()
	}
	return ""
}

// restoreObject puts an object of a snapshot back as it was.
func (f *FSM) restoreObject(t *table, obj runtime.Object, revision uint64) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	key := makeKey(m.GetNamespace(), m.GetName())
	if svc, ok := obj.(*corev1.Service); ok {
		if outcome, detail := f.unique.claim(key, svc); outcome != ops.Applied {
			return errors.New(detail)
		}
	}
	t.set(item{key: key, revision: revision, obj: obj})
	return nil
}
