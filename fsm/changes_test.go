package fsm

import (
	"bytes"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
)

func TestChangesTellThatATableIsAnother(t *testing.T) {
	f := New()
	secrets := schema.GroupResource{Resource: "secrets"}
	count, others := f.Changes(configMaps), f.Changes(secrets)
	before := count()
	changed := func(what string, want bool) {
		t.Helper()
		views, counts := f.Tables(configMaps, secrets)
		if now := count(); (now != before) != want || counts[0] != now || counts[1] != others() {
			t.Errorf("%s: %d after %d, and %v with a picture", what, now, before, counts)
		}
		if views[0].Revision() != f.Revision() {
			t.Errorf("%s: picture of revision %d, state of %d", what, views[0].Revision(), f.Revision())
		}
		before = count()
	}
	put := func(name string, expect uint64) {
		f.ApplyOps(f.Index()+1, []ops.Op{&ops.Put{Resource: configMaps, Object: configMap(name, "x"), Expect: expect}})
	}
	changed("nothing", false)
	put("a", ops.Absent)
	changed("created", true)
	put("a", ops.Absent)
	changed("refused", false)
	var snap bytes.Buffer
	if _, err := f.View().WriteTo(&snap); err != nil {
		t.Fatal(err)
	}
	put("a", ops.Exists)
	changed("updated", true)
	f.ApplyOps(f.Index()+1, []ops.Op{&ops.Put{Resource: services, Object: service("s")}})
	changed("another table was written", false)
	f.ApplyOps(f.Index()+1, []ops.Op{&ops.Delete{Resource: configMaps, Namespace: "default", Name: "a", Expect: ops.Any}})
	changed("deleted", true)
	none := others()
	if err := f.Restore(&snap); err != nil {
		t.Fatal(err)
	}
	changed("restored", true)
	if others() == none {
		t.Error("a restore may have changed every table")
	}
	put("b", ops.Absent)
	changed("created after a restore", true)
	if views, _ := f.Tables(configMaps, secrets); views[0].Len() != 2 || views[1].Len() != 0 {
		t.Errorf("%d and %d objects in the picture", views[0].Len(), views[1].Len())
	}
}
