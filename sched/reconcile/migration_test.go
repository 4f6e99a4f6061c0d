package reconcile

import (
	"slices"
	"testing"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

func TestMigrationsComeToAnEnd(t *testing.T) {
	for _, c := range []struct {
		group, resource string
		steps           []string // what each write says
	}{
		{"", "secrets", []string{"Running=True", "Running=False Succeeded=True"}},
		{"apps", "deployments", []string{"Running=True", "Running=False Succeeded=True"}},
		{"example.com", "nothing", nil}, // the servers' to end
	} {
		w := standardWorld(t, 1, 0)
		kind := api.KindFor(Migrations)
		var before *storagemigrationv1.StorageVersionMigration
		var steps []string
		w.check = func(list []ops.Op) {
			for _, op := range list {
				m := op.(*ops.Put).Object.(*storagemigrationv1.StorageVersionMigration)
				said := ""
				for _, c := range m.Status.Conditions {
					said += c.Type + "=" + string(c.Status) + " "
				}
				steps = append(steps, said[:max(0, len(said)-1)])
				if errs := kind.ValidateStatusUpdate(m, before); len(errs) > 0 {
					t.Errorf("the API would refuse this status: %v", errs)
				}
				before = m
			}
		}
		before = &storagemigrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: "m"},
			Spec: storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: c.group, Resource: c.resource}}}
		w.put(Migrations, before.DeepCopy())
		w.settle()
		if !slices.Equal(steps, c.steps) {
			t.Errorf("%s.%s: %q, want %q", c.resource, c.group, steps, c.steps)
		}
		if served := c.group != "example.com"; served != (before.Status.ResourceVersion != "") {
			t.Errorf("%s: resource version %q", c.resource, before.Status.ResourceVersion)
		}
	}
}
