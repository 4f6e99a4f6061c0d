package kube

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/util"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/openapi"
)

// lazyTypes is the converter behind managed fields and server-side apply. It is made on the first
// write, since a server that only follows should not pay for it, and it knows the served types
// only.
type lazyTypes struct {
	get    func() (managedfields.TypeConverter, error)
	shapes *sync.Map // schema.GroupVersionKind -> *typed.TypedValue, one that passed validation
}

// newTypes makes the converter for these storages.
func newTypes(groups ...served) lazyTypes {
	return lazyTypes{shapes: &sync.Map{}, get: sync.OnceValues(func() (managedfields.TypeConverter, error) {
		cfg := server.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, apiopenapi.NewDefinitionNamer(api.Scheme))
		spec, err := builder3.BuildOpenAPIDefinitionsForResources(cfg, typeNames(groups)...)
		if err != nil {
			return nil, fmt.Errorf("reading the schemas of the served types: %w", err)
		}
		return managedfields.NewTypeConverter(spec, false)
	})}
}

// typeNames are the names that the schemas have of the storages' types; options, which are no
// objects, have none.
func typeNames(groups []served) []string {
	seen := map[string]bool{}
	for _, storages := range groups {
		for _, s := range storages {
			seen[util.GetCanonicalTypeName(s.New())] = true
		}
	}
	for _, k := range api.Kinds() {
		for _, f := range k.Forms {
			seen[util.GetCanonicalTypeName(f.New())] = true
		}
	}
	out := make([]string, 0, len(seen))
	for n := range seen {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// ObjectToTyped implements managedfields.TypeConverter. Validation against the schema is skipped where it can find nothing: a Go struct
// has the schema's types, so only duplicates in lists would be left, and those who follow what a write changed allow them.
func (l lazyTypes) ObjectToTyped(o runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	c, err := l.get()
	if err != nil {
		return nil, err
	}
	if _, dynamic := o.(runtime.Unstructured); dynamic || !slices.Equal(opts, []typed.ValidationOptions{typed.AllowDuplicates}) {
		return c.ObjectToTyped(o, opts...)
	}
	kind := o.GetObjectKind().GroupVersionKind()
	shape, known := l.shapes.Load(kind)
	if !known {
		v, err := c.ObjectToTyped(o, opts...)
		if err == nil {
			l.shapes.Store(kind, v.Empty())
		}
		return v, err
	}
	v, err := value.NewValueReflect(o)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kind, err)
	}
	of := shape.(*typed.TypedValue)
	return typed.AsTypedUnvalidated(v, of.Schema(), of.TypeRef()), nil
}

func (l lazyTypes) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	c, err := l.get()
	if err != nil {
		return nil, err
	}
	return c.TypedToObject(v)
}
