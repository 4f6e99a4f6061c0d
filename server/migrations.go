package server

import (
	"context"
	"fmt"
	"strconv"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

const (
	// migrationsGlance is how often the leader looks whether somebody wants something migrated.
	migrationsGlance = 500 * time.Millisecond
	// migrationsRetry is how soon a migration that failed is tried again; each further failure doubles it, up to migrationsRetryMax.
	migrationsRetry    = time.Second
	migrationsRetryMax = 5 * time.Minute
)

var migrationsResource = schema.GroupResource{Group: storagemigrationv1.GroupName, Resource: "storageversionmigrations"}

// migrator carries out the migrations of one term.
type migrator struct {
	*Server
	failed map[types.UID]setback // of migrations
}

// setback is how often in a row something has failed, and when it is due again.
type setback struct {
	times int
	due   time.Time
}

func anyDue(all map[types.UID]setback, now time.Time) bool {
	for _, s := range all {
		if !now.Before(s.due) {
			return true
		}
	}
	return false
}

// migrateCustom brings the objects of custom resources to the version that is to be stored, as StorageVersionMigrations ask for it, until
// ctx ends. Those of built-in kinds need nothing: the engine ends them.
func (s *Server) migrateCustom(ctx context.Context) error {
	m := migrator{s, map[types.UID]setback{}}
	changes, definitions := s.state.Changes(migrationsResource), s.state.Changes(definitionsResource)
	ticker := time.NewTicker(migrationsGlance)
	defer ticker.Stop()
	var seen, defined uint64
	for first := true; ; first = false {
		if now := definitions(); now != defined { // what kept a migration from succeeding may have been mended
			defined = now
			clear(m.failed)
			first = true
		}
		if now := changes(); first || now != seen || anyDue(m.failed, s.now()) {
			seen = now
			m.once(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// once does what all migrations want, one after the other. Nothing stays known of those that are gone or done.
func (m *migrator) once(ctx context.Context) {
	old := m.failed
	m.failed = map[types.UID]setback{}
	m.state.Table(migrationsResource).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		migration := o.(*storagemigrationv1.StorageVersionMigration)
		gr := schema.GroupResource{Group: migration.Spec.Resource.Group, Resource: migration.Spec.Resource.Resource}
		if migrationIs(migration, storagemigrationv1.MigrationSucceeded) || migrationIs(migration, storagemigrationv1.MigrationFailed) ||
			migration.DeletionTimestamp != nil || api.KindFor(gr) != nil {
			return true
		}
		before := old[migration.UID]
		if m.now().Before(before.due) {
			m.failed[migration.UID] = before
			return true
		}
		if err := m.migrate(ctx, migration, gr); err != nil && ctx.Err() == nil {
			m.failed[migration.UID] = m.putOff(ctx, migration, before, err)
		}
		return ctx.Err() == nil
	})
}

// putOff notes when a migration is tried again, and tells its owner why it goes on for so long.
func (m *migrator) putOff(ctx context.Context, migration *storagemigrationv1.StorageVersionMigration, before setback, why error) setback {
	pause := min(migrationsRetry<<min(before.times, 16), migrationsRetryMax)
	m.log.Warn("cannot migrate what is stored of a custom resource; will try again", "migration", migration.Name, "pause", pause, "error", why)
	if migrationIs(migration, storagemigrationv1.MigrationRunning) {
		next := migration.DeepCopy()
		m.setMigration(next, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, "MigrationRunning",
			fmt.Sprintf("The migration is running. It could not be ended and will be tried again: %v", why))
		if !equality.Semantic.DeepEqual(next.Status, migration.Status) {
			if err := m.putMigration(ctx, next, migration); err != nil && ctx.Err() == nil {
				m.log.Warn("cannot say why a migration is not done", "migration", migration.Name, "error", err)
			}
		}
	}
	return setback{before.times + 1, m.now().Add(pause)}
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
