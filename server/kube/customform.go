package kube

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/crdserverscheme"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"
	kjson "sigs.k8s.io/json"

	"github.com/peapod-sh/peapod/server/fieldset"
)

// customForm reads and writes the objects of one version of a custom resource.
type customForm struct {
	kind    schema.GroupVersionKind
	schemas map[string]*structural.Structural // of all versions
	reset   []string                          // top-level fields that a user of the main resource does not own
}

var _ form = (*customForm)(nil)

func newCustomForm(d *apiextensionsv1.CustomResourceDefinition, version string) (*customForm, error) {
	f := &customForm{kind: schema.GroupVersionKind{Group: d.Spec.Group, Version: version, Kind: d.Status.AcceptedNames.Kind}, schemas: map[string]*structural.Structural{}}
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		of, err := internalSchema(d, v.Name)
		if err != nil {
			return nil, err
		}
		if of == nil {
			continue
		}
		s, err := structural.NewStructural(of)
		if err != nil {
			return nil, err
		}
		s = s.DeepCopy() // the defaults are still the definition's
		if err := defaulting.PruneDefaults(s); err != nil {
			return nil, err
		}
		f.schemas[v.Name] = s
	}
	if s := versionOf(d, version).Subresources; s != nil && s.Status != nil {
		f.reset = []string{"status"}
	}
	return f, nil
}

// internalSchema is a version's schema as validators want it, nil if it has none.
func internalSchema(d *apiextensionsv1.CustomResourceDefinition, version string) (*apiextensions.JSONSchemaProps, error) {
	v, err := apihelpers.GetSchemaForVersion(d, version)
	if err != nil || v == nil {
		return nil, err
	}
	out := &apiextensions.CustomResourceValidation{}
	err = apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v, out, nil)
	return out.OpenAPIV3Schema, err
}

// store validates objects as the handler does and stores them in their own version.
func (f *customForm) store(d *apiextensionsv1.CustomResourceDefinition, v *apiextensionsv1.CustomResourceDefinitionVersion, options restOptions) (rest.Creater, error) {
	of, err := internalSchema(d, v.Name)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(of)
	if err != nil {
		return nil, err
	}
	subresources := apiextensions.CustomResourceSubresources{}
	if v.Subresources != nil {
		if err := apiextensionsv1.Convert_v1_CustomResourceSubresources_To_apiextensions_CustomResourceSubresources(v.Subresources, &subresources, nil); err != nil {
			return nil, err
		}
	}
	strategy := customresource.NewStrategy(unstructuredTyper(), d.Spec.Scope == apiextensionsv1.NamespaceScoped, f.kind, validator, nil, f.schemas[v.Name],
		subresources.Status, subresources.Scale, v.SelectableFields)
	names, list := d.Status.AcceptedNames, f.kind.GroupVersion().WithKind(d.Status.AcceptedNames.ListKind)
	plural := schema.GroupResource{Group: f.kind.Group, Resource: names.Plural}
	made, err := customresource.NewStorage(plural, schema.GroupResource{Group: f.kind.Group, Resource: names.Singular}, f.kind, list, strategy,
		documentOptions{options, documentCodec{unstructured.UnstructuredJSONScheme}, nil}, names.Categories, rest.NewDefaultTableConvertor(plural), nil)
	return made.CustomResource, err
}

func unstructuredTyper() runtime.ObjectTyper {
	return crdserver.UnstructuredObjectTyper{Delegate: runtime.NewScheme(), UnstructuredTyper: crdserverscheme.NewUnstructuredObjectTyper()}
}

// interfaces are what admission does with objects.
func (f *customForm) interfaces(d *apiextensionsv1.CustomResourceDefinition, converters *conversion.CRConverterFactory) (admission.ObjectInterfaces, error) {
	converter, _, err := converters.NewConverter(d)
	if err != nil {
		return nil, err
	}
	equivalent := runtime.NewEquivalentResourceRegistry()
	for i := range d.Spec.Versions {
		gv := schema.GroupVersion{Group: f.kind.Group, Version: d.Spec.Versions[i].Name}
		equivalent.RegisterKindFor(gv.WithResource(d.Status.AcceptedNames.Plural), "", gv.WithKind(f.kind.Kind))
	}
	return &admission.RuntimeObjectInterfaces{ObjectCreater: f, ObjectTyper: unstructuredTyper(), ObjectDefaulter: f, ObjectConvertor: converter, EquivalentResourceMapper: equivalent}, nil
}

// New implements runtime.ObjectCreater.
func (f *customForm) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u, nil
}

// Default implements runtime.ObjectDefaulter.
func (f *customForm) Default(o runtime.Object) {
	kind := o.GetObjectKind().GroupVersionKind()
	if u, ok := o.(*unstructured.Unstructured); ok && kind.GroupKind() == f.kind.GroupKind() {
		defaulting.Default(u.Object, f.schemas[kind.Version])
	}
}

func (f *customForm) decode(q *creating, body []byte) bool {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	if strict, err := kjson.UnmarshalStrict(body, &u.Object); err != nil || len(strict) > 0 || !f.coerce(u.Object) {
		return false
	}
	f.Default(u)
	q.obj = u
	return q.begin(u) && f.own(u, q.manager)
}

// coerce does to an object what decoding does to one of a struct. It is false if anything there is unknown, malformed or not of this kind.
func (f *customForm) coerce(o map[string]any) bool {
	s := f.schemas[f.kind.Version]
	_, list := o["items"]
	if list || o["apiVersion"] != f.kind.GroupVersion().String() || o["kind"] != f.kind.Kind || !coerceMetadata(o) {
		return false
	}
	if len(pruning.PruneWithOptions(o, s, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})) > 0 {
		return false
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(o, s)
	err, unknown := objectmeta.CoerceWithOptions(nil, o, s, false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	return err == nil && len(unknown) == 0
}

// coerceMetadata leaves metadata as it is written after it was read into its struct.
func coerceMetadata(o map[string]any) bool {
	m, ok := o["metadata"].(map[string]any)
	if !ok {
		return false
	}
	if plainMetadata(m) {
		return true
	}
	read, found, unknown, err := objectmeta.GetObjectMetaWithOptions(o, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	return err == nil && found && len(unknown) == 0 && objectmeta.SetObjectMeta(o, read) == nil
}

// plainMetadata tells of metadata that reads and writes leave alone.
func plainMetadata(m map[string]any) bool {
	for name, v := range m {
		switch name {
		case "name", "generateName", "namespace":
			if s, ok := v.(string); !ok || s == "" {
				return false
			}
		case "labels", "annotations":
			texts, ok := v.(map[string]any)
			if !ok || len(texts) == 0 {
				return false
			}
			for _, v := range texts {
				if _, ok := v.(string); !ok {
					return false
				}
			}
		default:
			return false
		}
	}
	return true
}

// own makes a manager the owner of what a new object has. It is false if only the library can tell.
func (f *customForm) own(u *unstructured.Unstructured, manager string) bool {
	fields, ok := fieldset.CreatedDocument(u.Object, f.schemas[f.kind.Version], f.reset...)
	if !ok || fields == nil {
		return ok
	}
	var set map[string]any
	if json.Unmarshal(fields, &set) != nil {
		return false
	}
	entry := map[string]any{"manager": manager, "operation": string(metav1.ManagedFieldsOperationUpdate), "apiVersion": f.kind.GroupVersion().String(),
		"time": time.Now().UTC().Format(time.RFC3339), "fieldsType": "FieldsV1", "fieldsV1": set}
	m, ok := u.Object["metadata"].(map[string]any)
	if ok {
		m["managedFields"] = []any{entry}
	}
	return ok
}

// encode writes the object with the bytes that its stored document has already, if they come behind the metadata.
func (f *customForm) encode(q *creating, o runtime.Object, b *bytes.Buffer) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || q.stored == nil || len(q.stored.Rest) <= len("{}") || !restFollows(u.Object) {
		return unstructured.UnstructuredJSONScheme.Encode(o, b)
	}
	metadata, err := json.Marshal(u.Object["metadata"])
	if err != nil {
		return err
	}
	b.WriteString(`{"apiVersion":`)
	b.WriteString(strconv.Quote(f.kind.GroupVersion().String())) // names of groups, versions and kinds have no characters that JSON writes otherwise
	b.WriteString(`,"kind":`)
	b.WriteString(strconv.Quote(f.kind.Kind))
	b.WriteString(`,"metadata":`)
	b.Write(metadata)
	b.WriteByte(',')
	b.Write(q.stored.Rest[1:])
	b.WriteByte('\n')
	return nil
}

// restFollows says whether everything that is no head of an object comes behind it in the order of names.
func restFollows(o map[string]any) bool {
	for name := range o {
		if name < "metadata" && name != "apiVersion" && name != "kind" {
			return false
		}
	}
	return true
}
