package kube

import (
	"fmt"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/fieldset"
)

// creator writes the managed fields of a kind's new objects.
type creator struct {
	version string
	plan    func() (*fieldset.Plan, error) // made for the first object, since schemas are large
}

func newCreator(k *api.Kind, store rest.Creater, types lazyTypes) *creator {
	return &creator{k.GroupVersion.String(), sync.OnceValues(func() (*fieldset.Plan, error) {
		reset, err := resetNames(k, store)
		if err != nil {
			return nil, err
		}
		o := k.New()
		o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
		v, err := types.ObjectToTyped(o, typed.AllowDuplicates)
		if err != nil {
			return nil, err
		}
		return fieldset.For(reflect.TypeOf(o).Elem(), v.Schema(), v.TypeRef(), reset...), nil
	})}
}

// resetNames are the top-level fields that a user of the main resource does not own.
func resetNames(k *api.Kind, store rest.Creater) ([]string, error) {
	r, ok := store.(rest.ResetFieldsStrategy)
	if !ok {
		return nil, nil
	}
	var out []string
	var err error
	set, ok := r.GetResetFields()[fieldpath.APIVersion(k.GroupVersion.String())]
	if !ok {
		return nil, nil
	}
	set.Iterate(func(p fieldpath.Path) {
		if len(p) != 1 || p[0].FieldName == nil {
			err = fmt.Errorf("%s resets %s, which is no top-level field", k.GroupResource(), p)
			return
		}
		out = append(out, *p[0].FieldName)
	})
	return out, err
}

// own makes a manager the owner of what a new object has. It is false, with nothing done, if only the library can tell.
func (c *creator) own(obj runtime.Object, m metav1.Object, manager string) bool {
	plan, err := c.plan()
	if err != nil {
		return false
	}
	fields, ok := plan.Created(obj)
	if !ok {
		return false
	}
	if fields == nil {
		return true
	}
	f := &metav1.FieldsV1{}
	f.SetRawBytes(fields)
	m.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: c.version,
		Time: &metav1.Time{Time: time.Now().UTC()}, FieldsType: "FieldsV1", FieldsV1: f}})
	return true
}
