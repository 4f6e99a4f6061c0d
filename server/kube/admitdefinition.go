package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
)

// definitionRule refuses definitions of custom resources whose validation would take a server's whole time, or its life: it runs
// before the validation of k8s.io/apiextensions-apiserver, and asks the cluster's own rules first.
type definitionRule struct{ admission.Interface }

var (
	_ admission.MutationInterface   = definitionRule{}
	_ admission.ValidationInterface = definitionRule{}
)

// Admit looks at a definition after the cluster's own rules have.
func (r definitionRule) Admit(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if m, ok := r.Interface.(admission.MutationInterface); ok {
		if err := m.Admit(ctx, at, o); err != nil {
			return err
		}
	}
	d, ok := at.GetObject().(*apiextensions.CustomResourceDefinition)
	if !ok || at.GetSubresource() != "" {
		return nil
	}
	if errs := checkSchemas(d); len(errs) > 0 {
		return apierrors.NewInvalid(at.GetKind().GroupKind(), d.Name, errs)
	}
	return nil
}

// Validate adds nothing.
func (r definitionRule) Validate(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if v, ok := r.Interface.(admission.ValidationInterface); ok {
		return v.Validate(ctx, at, o)
	}
	return nil
}

func checkSchemas(d *apiextensions.CustomResourceDefinition) (errs field.ErrorList) {
	for i := range d.Spec.Versions {
		at := field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema")
		schema, err := apiextensions.GetSchemaForVersion(d, d.Spec.Versions[i].Name)
		if err != nil || schema == nil || schema.OpenAPIV3Schema == nil {
			continue // which the validation has words for
		}
		if depth(schema.OpenAPIV3Schema, schemaDepthMax+1) > schemaDepthMax {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("the schema must not be nested more than %d levels deep", schemaDepthMax)))
			continue
		}
		// The validation of selectable fields does not survive a schema that has no structure.
		if len(d.Spec.Versions[i].SelectableFields) > 0 || len(d.Spec.SelectableFields) > 0 {
			if _, err := structuralschema.NewStructural(schema.OpenAPIV3Schema); err != nil {
				errs = append(errs, field.Invalid(at, field.OmitValueType{}, err.Error()))
			}
		}
	}
	return errs
}

// depth is how many levels a schema has, counted up to a limit.
func depth(s *apiextensions.JSONSchemaProps, limit int) int {
	if s == nil || limit == 0 {
		return 0
	}
	deepest := 0
	for _, inner := range inside(s) {
		deepest = max(deepest, depth(inner, limit-1))
	}
	return deepest + 1
}

// inside are the schemas that a schema is made of.
func inside(s *apiextensions.JSONSchemaProps) (out []*apiextensions.JSONSchemaProps) {
	for _, list := range [][]apiextensions.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	for _, named := range []map[string]apiextensions.JSONSchemaProps{s.Properties, s.PatternProperties, s.Definitions} {
		for _, inner := range slices.Collect(maps.Values(named)) {
			out = append(out, &inner)
		}
	}
	out = append(out, s.Not)
	if s.Items != nil {
		out = append(out, s.Items.Schema)
		for i := range s.Items.JSONSchemas {
			out = append(out, &s.Items.JSONSchemas[i])
		}
	}
	for _, or := range []*apiextensions.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
		if or != nil {
			out = append(out, or.Schema)
		}
	}
	return out
}
