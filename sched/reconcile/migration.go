package reconcile

import (
	"strconv"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// syncMigration carries out a migration of stored objects to their newest form. There is nothing to write again: the state holds each
// object in one form, that of the version that runs, and a snapshot is written in that form whatever it was read from. So a migration of
// a built-in kind begins and has succeeded; each is a write of its own, so that who waits for one or the other sees it. Custom resources,
// which are stored as they were written, are not the engine's: server/migrations.go.
func (e *Engine) syncMigration(k key) {
	o := e.object(Migrations, "", k.name)
	if o == nil || o.meta.GetDeletionTimestamp() != nil || e.written[o.ref] {
		return
	}
	m := o.obj.(*storagemigrationv1.StorageVersionMigration).DeepCopy()
	is := func(t storagemigrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, string(t))
	}
	builtin := api.KindFor(schema.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}) != nil
	switch {
	case !builtin, is(storagemigrationv1.MigrationSucceeded), is(storagemigrationv1.MigrationFailed):
		return
	case !is(storagemigrationv1.MigrationRunning):
		if m.Status.ResourceVersion == "" {
			m.Status.ResourceVersion = strconv.FormatUint(o.rev, 10)
		}
		e.setMigration(m, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, "MigrationRunning", "The migration is running")
	default:
		e.setMigration(m, storagemigrationv1.MigrationRunning, metav1.ConditionFalse, "MigrationRunning", "The migration is running")
		e.setMigration(m, storagemigrationv1.MigrationSucceeded, metav1.ConditionTrue, "StorageVersionMigrationSucceeded", "")
	}
	e.put(Migrations, m, o.rev)
}

func (e *Engine) setMigration(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType, s metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{Type: string(t), Status: s, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(e.now.Truncate(time.Second))})
}
