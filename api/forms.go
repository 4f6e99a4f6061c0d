package api

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// addForm registers one more version of a kind: how its objects and lists become those of the hub, and back.
func addForm(k *Kind, f *Form) {
	if f.GroupVersion.Group != k.GroupVersion.Group {
		internal := schema.GroupVersion{Group: f.GroupVersion.Group, Version: runtime.APIVersionInternal}
		Scheme.AddKnownTypes(internal, k.New(), k.NewList())
	}
	if f.Default != nil {
		Scheme.AddTypeDefaultingFunc(f.New(), func(o any) { f.Default(o.(runtime.Object)) })
	}
	toHub := func(form, hub runtime.Object) error {
		if err := f.ToHub(form, hub); err != nil {
			return err
		}
		if k.Default != nil {
			k.Default(hub)
		}
		return nil
	}
	addConversion(f.New(), k.New(), toHub)
	addConversion(k.New(), f.New(), f.FromHub)
	addConversion(f.NewList(), k.NewList(), eachItem(k.New, toHub))
	addConversion(k.NewList(), f.NewList(), eachItem(f.New, f.FromHub))
	labels := f.FieldLabels
	if labels == nil {
		labels = k.FieldLabels
	}
	addFieldLabels(f.GroupVersion.WithKind(k.Name), labels, f.HubLabels)
}

func addConversion(from, to runtime.Object, convert func(from, to runtime.Object) error) {
	utilruntime.Must(Scheme.AddConversionFunc(from, to, func(a, b any, _ conversion.Scope) error {
		return convert(a.(runtime.Object), b.(runtime.Object))
	}))
}

// eachItem converts a list by converting its items to objects that item makes.
func eachItem(item func() runtime.Object, convert func(from, to runtime.Object) error) func(from, to runtime.Object) error {
	return func(from, to runtime.Object) error {
		var items []runtime.Object
		err := meta.EachListItem(from, func(o runtime.Object) error {
			converted := item()
			items = append(items, converted)
			return convert(o, converted)
		})
		if err != nil {
			return fmt.Errorf("converting a list: %w", err)
		}
		in, err := meta.ListAccessor(from)
		if err != nil {
			return err
		}
		out, err := meta.ListAccessor(to)
		if err != nil {
			return err
		}
		out.SetResourceVersion(in.GetResourceVersion())
		out.SetContinue(in.GetContinue())
		out.SetRemainingItemCount(in.GetRemainingItemCount())
		return meta.SetList(to, items)
	}
}
