package fsm

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// recordOf turns a whole pod into a record with a template of its own (or one that another pod has).
// It takes p over.
func (f *FSM) recordOf(p *corev1.Pod) (*api.PodRecord, error) {
	rec := &api.PodRecord{Name: p.Name, UID: p.UID, Node: p.Spec.NodeName, Created: p.CreationTimestamp.Unix(), Generation: p.Generation}
	if p.DeletionTimestamp != nil {
		rec.DeletionTime = p.DeletionTimestamp.Unix()
		if p.DeletionGracePeriodSeconds != nil {
			rec.DeletionGrace = *p.DeletionGracePeriodSeconds
		}
	}
	status, err := p.Status.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding the status of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	if err := rec.SetStatus(status); err != nil {
		return nil, err
	}
	rec.Template, err = f.templates.intern(p)
	return rec, err
}

// nameIn cuts a pod's name from its key, so that the two share their bytes.
func nameIn(key, namespace string) string { return key[len(namespace)+1:] }

// storePod commits a record under key; old is what was there, or nil, and then the key is the one that it had: the name, the index
// by node and every later record share its bytes.
func (f *FSM) storePod(t *table, key string, rec, old *api.PodRecord) {
	f.revision++
	rec.Revision = f.revision
	t.set(item{key: key, revision: rec.Revision, pod: rec})
	f.podIndex.move(key, old, rec)
	f.commit(t, &api.Change{Resource: Pods, Namespace: rec.Namespace(), Name: rec.Name, OldPod: old, NewPod: rec})
}

func (f *FSM) planPods(o *ops.PlanPods) ops.Result {
	base, namespace := o.Template.GenerateName, o.Template.Namespace
	generation := o.Template.Generation
	tmpl, err := f.templates.intern(o.Template)
	if err != nil {
		return f.rows(len(o.Rows), func(int) ops.Outcome { return ops.Invalid })
	}
	t := f.table(Pods)
	return f.rows(len(o.Rows), func(i int) ops.Outcome {
		row := &o.Rows[i]
		key := makeKey(namespace, base+row.Suffix)
		if _, exists := t.get(key); exists {
			return ops.Found
		}
		rec := &api.PodRecord{Template: tmpl, Name: nameIn(key, namespace), UID: row.UID, Node: row.Node,
			Created: o.Created, Generation: generation}
		f.storePod(t, key, rec, nil)
		return ops.Applied
	})
}

// change looks a pod up, checks that it is the one meant, and commits an edited copy.
func (f *FSM) change(namespace, name string, uid types.UID, edit func(*api.PodRecord) ops.Outcome) ops.Outcome {
	t, key := f.table(Pods), makeKey(namespace, name)
	old, exists := t.get(key)
	if !exists {
		return ops.NotFound
	}
	if uid != "" && old.pod.UID != uid {
		return ops.Conflict
	}
	rec := *old.pod
	if outcome := edit(&rec); outcome != ops.Applied {
		return outcome
	}
	f.storePod(t, old.key, &rec, old.pod)
	return ops.Applied
}

func (f *FSM) bindPod(now int64, row *ops.BindRow) ops.Outcome {
	return f.change(row.Namespace, row.Name, row.UID, func(rec *api.PodRecord) ops.Outcome {
		if rec.Node != "" || rec.Deleting() || rec.Terminal() {
			return ops.Conflict
		}
		rec.Node = row.Node
		status := rec.DecodeStatus()
		status.NominatedNodeName = "" // it is there, or not needed any more
		api.SetPodCondition(&status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(now, 0)})
		return encodeStatus(rec, &status)
	})
}

func encodeStatus(rec *api.PodRecord, status *corev1.PodStatus) ops.Outcome {
	b, err := status.Marshal()
	if err != nil || rec.SetStatus(b) != nil {
		return ops.Invalid
	}
	return ops.Applied
}

func (f *FSM) podStatus(row *ops.StatusRow) ops.Outcome {
	return f.change(row.Namespace, row.Name, row.UID, func(rec *api.PodRecord) ops.Outcome {
		if row.Expect != 0 && row.Expect != rec.Revision {
			return ops.Conflict
		}
		over := rec.Terminal()
		if rec.SetStatus(row.Status) != nil {
			return ops.Invalid
		}
		if over && !rec.Terminal() {
			return ops.Conflict // who wrote it had not heard yet that the pod is over
		}
		return ops.Applied
	})
}

// deletePod starts, shortens or ends a graceful deletion.
func (f *FSM) deletePod(now int64, row *ops.DeleteRow) ops.Outcome {
	t, key := f.table(Pods), makeKey(row.Namespace, row.Name)
	old, exists := t.get(key)
	if !exists {
		return ops.NotFound
	}
	if row.UID != "" && old.pod.UID != row.UID {
		return ops.Conflict
	}
	grace := deletionGrace(old.pod, row.Grace)
	if grace == 0 && len(old.pod.Template.Pod.Finalizers) == 0 {
		f.dropItem(t, old)
		return ops.Applied
	}
	if old.pod.Deleting() && old.pod.DeletionTime <= now+grace {
		return ops.Applied // it goes that soon already
	}
	rec := *old.pod
	rec.DeletionTime, rec.DeletionGrace = now+grace, grace
	rec.Generation++
	f.storePod(t, old.key, &rec, old.pod)
	return ops.Applied
}

// deletionGrace is the number of seconds that a pod may still take; asked -1 means its own.
func deletionGrace(rec *api.PodRecord, asked int64) int64 {
	if rec.Node == "" || rec.Terminal() {
		return 0
	}
	if asked >= 0 {
		return asked
	}
	if s := rec.Spec().TerminationGracePeriodSeconds; s != nil {
		return max(*s, 0)
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}
