package reconcile

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Facts is what Config.PreparePod may read: the engine's model, so that the same observations give the same pods.
type Facts struct{ m *model }

// Object finds an observed object; nil if there is none. It must not be changed.
func (f Facts) Object(gr schema.GroupResource, namespace, name string) runtime.Object {
	if o := f.m.object(gr, namespace, name); o != nil {
		return o.obj
	}
	return nil
}

// Objects lists what is observed in a namespace, or of a kind that has none, by name.
func (f Facts) Objects(gr schema.GroupResource, namespace string) []runtime.Object {
	list := f.m.list(namespace, gr)
	out := make([]runtime.Object, len(list))
	for i, o := range list {
		out[i] = o.obj
	}
	return out
}
