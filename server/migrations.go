package server

import (
	"context"
	"strconv"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

const (
	// migrationsGlance is how often the leader looks whether somebody wants something migrated.
	migrationsGlance = 500 * time.Millisecond
	// migrationsRetry is how soon a migration that failed is tried again.
	migrationsRetry = 5 * time.Second
)

var migrationsResource = schema.GroupResource{Group: storagemigrationv1.GroupName, Resource: "storageversionmigrations"}

// migrateCustom brings the objects of custom resources to the version that is to be stored, as StorageVersionMigrations ask for it, until
// ctx ends. Those of built-in kinds need nothing: the engine ends them.
func (s *Server) migrateCustom(ctx context.Context) error {
	changes := s.state.Changes(migrationsResource)
	ticker := time.NewTicker(migrationsGlance)
	defer ticker.Stop()
	var seen uint64
	var again time.Time // zero: nothing is to be tried again
	for first := true; ; first = false {
		if now := changes(); first || now != seen || !again.IsZero() && !s.now().Before(again) {
			seen, again = now, time.Time{}
			if !s.migrateOnce(ctx) {
				again = s.now().Add(migrationsRetry)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// migrateOnce does what all migrations want, one after the other, and says whether that is done.
func (s *Server) migrateOnce(ctx context.Context) (done bool) {
	done = true
	s.state.Table(migrationsResource).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		m := o.(*storagemigrationv1.StorageVersionMigration)
		gr := schema.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}
		if migrationIs(m, storagemigrationv1.MigrationSucceeded) || migrationIs(m, storagemigrationv1.MigrationFailed) || m.DeletionTimestamp != nil ||
			api.KindFor(gr) != nil {
			return true
		}
		if err := s.migrate(ctx, m, gr); err != nil && ctx.Err() == nil {
			done = false
			s.log.Warn("cannot migrate what is stored of a custom resource; will try again", "migration", m.Name, "resource", gr, "error", err)
		}
		return ctx.Err() == nil
	})
	return done
}

func migrationIs(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(t))
}

// migrate says that the migration runs, before it does; what comes of it is written when all is done.
func (s *Server) migrate(ctx context.Context, m *storagemigrationv1.StorageVersionMigration, gr schema.GroupResource) error {
	serving := s.api.Load()
	if serving == nil {
		return errNotReady
	}
	if !migrationIs(m, storagemigrationv1.MigrationRunning) {
		next := m.DeepCopy()
		if next.Status.ResourceVersion == "" {
			next.Status.ResourceVersion = strconv.FormatUint(s.state.Revision(), 10)
		}
		s.setMigration(next, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, "MigrationRunning", "The migration is running")
		return s.putMigration(ctx, next, m) // which is seen as a change
	}
	found, err := serving.Rewrite(ctx, gr)
	if err != nil {
		return err
	}
	next := m.DeepCopy()
	s.setMigration(next, storagemigrationv1.MigrationRunning, metav1.ConditionFalse, "MigrationRunning", "The migration is running")
	if found {
		s.setMigration(next, storagemigrationv1.MigrationSucceeded, metav1.ConditionTrue, "StorageVersionMigrationSucceeded", "")
	} else {
		s.setMigration(next, storagemigrationv1.MigrationFailed, metav1.ConditionTrue, "StorageVersionMigrationFailed", "resource not found")
	}
	return s.putMigration(ctx, next, m)
}

func (s *Server) putMigration(ctx context.Context, next, old *storagemigrationv1.StorageVersionMigration) error {
	return s.attempt(ctx, []ops.Op{&ops.Put{Resource: migrationsResource, Object: next, Expect: revisionOf(old)}})
}

func (s *Server) setMigration(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType, status metav1.ConditionStatus,
	reason, message string) {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{Type: string(t), Status: status, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(s.now().Truncate(time.Second))})
}
