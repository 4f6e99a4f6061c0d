package reconcile

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/peapod-sh/peapod/api"
)

// Definitions are those of custom resources.
var Definitions = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}

// definition is what the engine needs of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Group    string
		Names    struct{ Kind, Plural string }
		Versions []struct {
			Name         string
			Subresources struct{ Scale *scalePaths }
		}
	}
}

// scalePaths say where in an object the numbers of its /scale are, as ".spec.replicas".
type scalePaths struct {
	SpecReplicasPath, StatusReplicasPath, LabelSelectorPath string
}

// learnKind notes that a definition's objects are shown to this engine: an owner of that kind which is not here does not exist, even if
// there was none since this term began. It also learns how many pods such an object says that it wants.
func (e *Engine) learnKind(o *object) {
	d, ok := o.obj.(*api.Document)
	if !ok || o.gr != Definitions {
		return
	}
	var defined definition
	if json.Unmarshal(d.Rest, &defined) != nil || defined.Spec.Names.Kind == "" {
		return
	}
	gk := schema.GroupKind{Group: defined.Spec.Group, Kind: defined.Spec.Names.Kind}
	e.kindsSeen[gk] = true
	e.definedKinds[gk] = &definedKind{resource: schema.GroupResource{Group: gk.Group, Resource: defined.Spec.Names.Plural}, scale: defined.scale()}
}

// definedKind is a kind that a definition makes.
type definedKind struct {
	resource schema.GroupResource
	scale    *api.ScaleAccess // nil if no version has the subresource
}

// scale reads and writes an object by the paths of the version in which it is stored.
func (d *definition) scale() *api.ScaleAccess {
	byVersion := map[string]*scalePaths{}
	for _, v := range d.Spec.Versions {
		if v.Subresources.Scale != nil {
			byVersion[d.Spec.Group+"/"+v.Name] = v.Subresources.Scale
		}
	}
	if len(byVersion) == 0 {
		return nil
	}
	return &api.ScaleAccess{
		Get: func(obj runtime.Object) (spec, status int32, selector string) {
			o := obj.(*api.Document)
			if paths := byVersion[o.APIVersion]; paths != nil {
				return paths.get(o)
			}
			return 0, 0, ""
		},
		Set: func(obj runtime.Object, replicas int32) {
			o := obj.(*api.Document)
			if paths := byVersion[o.APIVersion]; paths != nil {
				paths.set(o, replicas)
			}
		},
		Fault: func(obj runtime.Object) error {
			o := obj.(*api.Document)
			if paths := byVersion[o.APIVersion]; paths != nil {
				return paths.check(o)
			}
			return fmt.Errorf("it is stored as %s, which has no scale subresource", o.APIVersion)
		},
	}
}

func (p *scalePaths) get(o *api.Document) (spec, status int32, selector string) {
	var fields map[string]any
	if utiljson.Unmarshal(o.Rest, &fields) != nil {
		return 0, 0, ""
	}
	number := func(path string) int32 {
		n, _, _ := unstructured.NestedInt64(fields, steps(path)...)
		return int32(n)
	}
	if p.LabelSelectorPath != "" {
		selector, _, _ = unstructured.NestedString(fields, steps(p.LabelSelectorPath)...)
	}
	return number(p.SpecReplicasPath), number(p.StatusReplicasPath), selector
}

// check says what Kubernetes' API says of an object whose field is not set: unlike a number of zero, that is a fault.
func (p *scalePaths) check(o *api.Document) error {
	var fields map[string]any
	if err := utiljson.Unmarshal(o.Rest, &fields); err != nil {
		return err
	}
	if _, there, err := unstructured.NestedInt64(fields, steps(p.SpecReplicasPath)...); err != nil {
		return err
	} else if !there {
		return fmt.Errorf("Internal error occurred: the spec replicas field %q does not exist", p.SpecReplicasPath)
	}
	return nil
}

// set leaves an object alone in which there is no place for the number.
func (p *scalePaths) set(o *api.Document, replicas int32) {
	var fields map[string]any
	if utiljson.Unmarshal(o.Rest, &fields) != nil || unstructured.SetNestedField(fields, int64(replicas), steps(p.SpecReplicasPath)...) != nil {
		return
	}
	if b, err := json.Marshal(fields); err == nil {
		o.Rest = b
	}
}

// steps takes a path of a definition apart; it has no indexes.
func steps(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// scalableKind is how objects of a kind say how many pods they want: built in, or by its definition. Access is nil if they do not;
// the resource is empty if the kind is not known.
func (e *Engine) scalableKind(gk schema.GroupKind) (gr schema.GroupResource, access *api.ScaleAccess) {
	if k := builtinKinds[gk]; k != nil {
		return k.GroupResource(), k.Scale
	}
	d := e.definedKinds[gk]
	if d == nil || e.object(Definitions, "", d.resource.String()) == nil { // it is gone
		return schema.GroupResource{}, nil
	}
	return d.resource, d.scale
}

var builtinKinds = func() map[schema.GroupKind]*api.Kind {
	out := map[schema.GroupKind]*api.Kind{}
	for _, k := range api.Kinds() {
		out[k.GroupVersionKind().GroupKind()] = k
	}
	return out
}()

// countsPods tells whether an object says how many pods somebody wants.
func (e *Engine) countsPods(o *object) bool {
	if d, custom := o.obj.(*api.Document); custom {
		_, access := e.scalableKind(d.GroupVersionKind().GroupKind())
		return access != nil
	}
	return scalable[o.gr]
}

// scalable are the built-in resources that say how many pods they want.
var scalable = func() map[schema.GroupResource]bool {
	out := map[schema.GroupResource]bool{}
	for _, k := range api.Kinds() {
		out[k.GroupResource()] = k.Scale != nil
	}
	return out
}()
