package hooks

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// counted is a state of webhook configurations that counts its readers.
type counted struct {
	State
	changes, reads uint64
	list           []runtime.Object
	during         func() // happens once, while the objects are read
}

func (c *counted) Changes(schema.GroupResource) func() uint64 {
	return func() uint64 { return c.changes }
}

func (c *counted) Objects(schema.GroupResource, string) []runtime.Object {
	c.reads++
	out := c.list
	if during := c.during; during != nil {
		c.during = nil
		during()
	}
	return out
}

func (c *counted) set(list ...runtime.Object) {
	c.list = list
	c.changes++
}

func configuration(revision, service string) runtime.Object {
	return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: types.UID("a"), ResourceVersion: revision},
		Webhooks: []admissionv1.ValidatingWebhook{{Name: "w", ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Name: service}}}}}
}

// Invariant 212.
func TestTableReadsWhatHasChanged(t *testing.T) {
	s := &counted{}
	told := 0
	table := newTable(s, validatingResource, nil)
	table.handler = cache.ResourceEventHandlerFuncs{AddFunc: func(any) { told++ }}
	expect := func(what string, reads uint64, adds int, service string) {
		t.Helper()
		known := table.configured()
		got := ""
		if len(known.services) > 0 {
			got = known.services[0].service.Name
		}
		if s.reads != reads || told != adds || known.webhooks != (service != "") || got != service {
			t.Errorf("%s: %d reads, told of %d, service %q; want %d, %d, %q", what, s.reads, told, got, reads, adds, service)
		}
	}
	expect("at first", 1, 0, "")
	expect("nothing has changed", 1, 0, "")
	s.set(configuration("1", "one"))
	expect("one came", 2, 1, "one")
	expect("nothing has changed", 2, 1, "one")
	s.set(configuration("2", "two"))
	expect("it changed", 3, 2, "two")
	s.changes++
	expect("the state was restored as it was", 4, 2, "two")
	s.set()
	s.during = func() { s.set(configuration("3", "three")) }
	expect("it went, and came back while that was read", 5, 2, "")
	expect("it came back", 6, 3, "three")
}
