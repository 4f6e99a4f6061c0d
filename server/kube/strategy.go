package kube

import (
	"context"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/peapod-sh/peapod/api"
)

// strategy tells registry.Store how a kind behaves, from its entry in the table of kinds.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	kind *api.Kind
}

var (
	_ rest.RESTCreateStrategy              = strategy{}
	_ rest.RESTUpdateStrategy              = strategy{}
	_ rest.RESTDeleteStrategy              = strategy{}
	_ rest.ResetFieldsStrategy             = strategy{}
	_ rest.GarbageCollectionDeleteStrategy = strategy{}
)

func newStrategy(k *api.Kind) strategy {
	return strategy{api.Scheme, names.SimpleNameGenerator, k}
}

func (s strategy) NamespaceScoped() bool                         { return !s.kind.ClusterScoped }
func (s strategy) Canonicalize(runtime.Object)                   {}
func (s strategy) AllowCreateOnUpdate(context.Context) bool      { return s.kind.CreateOnUpdate }
func (s strategy) AllowUnconditionalUpdate(context.Context) bool { return !s.kind.ConditionalUpdate }

func (s strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	if s.kind.OrphanByDefault {
		return rest.OrphanDependents
	}
	return rest.DeleteDependents
}

func (s strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	if s.kind.HasStatus && !s.kind.KeepStatusOnCreate {
		copyField(obj, s.kind.New(), statusField)
	}
	if s.kind.HasGeneration {
		accessor(obj).SetGeneration(1)
	}
	if s.kind.PrepareForCreate != nil {
		s.kind.PrepareForCreate(obj)
	}
}

func (s strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	if s.kind.HasStatus {
		copyField(obj, old, statusField)
	}
	// A kind may count changes of its own (a deployment's annotations); it sees the old number.
	accessor(obj).SetGeneration(accessor(old).GetGeneration())
	if s.kind.PrepareForUpdate != nil {
		s.kind.PrepareForUpdate(obj, old)
	}
	if s.kind.HasGeneration && !sameIntent(obj, old) {
		accessor(obj).SetGeneration(accessor(old).GetGeneration() + 1)
	}
}

func (s strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	name := s.kind.ValidateName
	if name == nil {
		name = validation.NameIsDNSSubdomain
	}
	errs := validation.ValidateObjectMetaAccessor(accessor(obj), !s.kind.ClusterScoped, name, field.NewPath("metadata"))
	errs = append(errs, finalizerFaults(obj)...)
	switch f := s.form(ctx); {
	case f != nil && f.Validate != nil:
		errs = append(errs, f.Validate(obj)...)
	case s.kind.Validate != nil:
		errs = append(errs, s.kind.Validate(obj)...)
	}
	return distinct(errs)
}

// form is the version in which the request was made, if it is not the kind's own.
func (s strategy) form(ctx context.Context) *api.Form {
	if len(s.kind.Forms) == 0 {
		return nil
	}
	r, ok := request.RequestInfoFrom(ctx)
	if !ok {
		return nil
	}
	for i := range s.kind.Forms {
		if f := &s.kind.Forms[i]; f.GroupVersion.Group == r.APIGroup && f.GroupVersion.Version == r.APIVersion {
			return f
		}
	}
	return nil
}

func (s strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := finalizerFaults(obj)
	switch f := s.form(ctx); {
	case f != nil && f.ValidateUpdate != nil:
		errs = append(errs, f.ValidateUpdate(obj, old)...)
	case s.kind.ValidateUpdate != nil:
		errs = append(errs, s.kind.ValidateUpdate(obj, old)...)
	case s.kind.Validate != nil:
		errs = append(errs, s.kind.Validate(obj)...)
	}
	return distinct(errs)
}

// finalizerFaults wants a domain in a finalizer's name, so that it is known whose it is, or one of Kubernetes' own.
func finalizerFaults(obj runtime.Object) (errs field.ErrorList) {
	for i, f := range accessor(obj).GetFinalizers() {
		if !strings.Contains(f, "/") && f != string(corev1.FinalizerKubernetes) && f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "finalizers").Index(i), f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

func (s strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	var out []string
	if s.kind.NotActedOn != "" {
		out = append(out, s.kind.NotActedOn)
	}
	if s.kind.Warnings != nil {
		out = append(out, s.kind.Warnings(obj, nil)...)
	}
	return out
}

func (s strategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	if s.kind.Warnings == nil {
		return nil
	}
	return s.kind.Warnings(obj, old)
}

// GetResetFields tells server-side apply which fields of the main resource are not the user's.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if !s.kind.HasStatus {
		return nil
	}
	return resetFields(s.kind, "status")
}

// statusStrategy is the strategy of the status subresource.
type statusStrategy struct{ strategy }

// PrepareForUpdate keeps everything but the status and the metadata.
func (s statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	for _, f := range intentFields(obj) {
		copyField(obj, old, f)
	}
	accessor(obj).SetGeneration(accessor(old).GetGeneration())
	accessor(obj).SetOwnerReferences(accessor(old).GetOwnerReferences())
	accessor(obj).SetFinalizers(accessor(old).GetFinalizers())
	if s.kind.PrepareForStatusUpdate != nil {
		s.kind.PrepareForStatusUpdate(obj, old)
	}
}

func (s statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if s.kind.ValidateStatusUpdate == nil {
		return nil
	}
	return distinct(s.kind.ValidateStatusUpdate(obj, old))
}

func (s statusStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return resetFields(s.kind, "spec")
}

func resetFields(k *api.Kind, path string) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet(fieldpath.MakePathOrDie(path))
	out := map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(k.GroupVersion.String()): set}
	for _, f := range k.Forms {
		out[fieldpath.APIVersion(f.GroupVersion.String())] = set
	}
	return out
}

const statusField = "Status"

// copyField copies one top-level field by its Go name; a type without it is left alone.
func copyField(dst, src runtime.Object, name string) {
	if d := reflect.ValueOf(dst).Elem().FieldByName(name); d.IsValid() {
		d.Set(reflect.ValueOf(src).Elem().FieldByName(name))
	}
}

// intentFields are the top-level fields that are neither metadata nor status: what the user wants.
func intentFields(o runtime.Object) []string {
	var out []string
	t := reflect.TypeOf(o).Elem()
	for i := range t.NumField() {
		switch n := t.Field(i).Name; n {
		case "TypeMeta", "ObjectMeta", statusField:
		default:
			out = append(out, n)
		}
	}
	return out
}

// sameIntent says whether two objects want the same.
func sameIntent(a, b runtime.Object) bool {
	for _, f := range intentFields(a) {
		x, y := reflect.ValueOf(a).Elem().FieldByName(f), reflect.ValueOf(b).Elem().FieldByName(f)
		if !equality.Semantic.DeepEqual(x.Interface(), y.Interface()) {
			return false
		}
	}
	return true
}

// distinct drops faults that two validators reported in the same words.
func distinct(errs field.ErrorList) field.ErrorList {
	seen := map[string]bool{}
	out := errs[:0]
	for _, e := range errs {
		if !seen[e.Error()] {
			seen[e.Error()] = true
			out = append(out, e)
		}
	}
	return out
}
