package main

import (
	crds "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// What the types are called in OpenAPI.
const (
	orderModel = "example.shop.v1.Order"
	specModel  = "example.shop.v1.OrderSpec"
	listModel  = "example.shop.v1.OrderList"
	objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	listMeta   = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
)

// OpenAPIModelName implements util.OpenAPIModelNamer, as its namesakes do.
func (Order) OpenAPIModelName() string     { return orderModel }
func (OrderSpec) OpenAPIModelName() string { return specModel }
func (OrderList) OpenAPIModelName() string { return listModel }

func text(kind, description string) spec.Schema {
	return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{kind}, Description: description}}
}

func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	out := crds.GetOpenAPIDefinitions(ref) // of the types that all servers share
	object := func(description string, properties map[string]spec.Schema, needs ...string) common.OpenAPIDefinition {
		return common.OpenAPIDefinition{Schema: spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Description: description,
			Properties: properties}}, Dependencies: needs}
	}
	to := func(name string) spec.Schema {
		return spec.Schema{SchemaProps: spec.SchemaProps{Ref: ref(name), Default: map[string]any{}}}
	}
	version, kind := text("string", "The version of the object."), text("string", "The kind of the object.")
	out[orderModel] = object("An order is what a customer wants.", map[string]spec.Schema{
		"apiVersion": version, "kind": kind, "metadata": to(objectMeta), "spec": to(specModel)}, objectMeta, specModel)
	out[specModel] = object("What is wanted.", map[string]spec.Schema{"item": text("string", "The thing that the customer wants."),
		"count": text("integer", "How many."), "by": text("string", "Who asked."),
		"of": {SchemaProps: spec.SchemaProps{Type: []string{"array"}, Description: "The groups of who asked.",
			Items: &spec.SchemaOrArray{Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"string"}}}}}}})
	out[listModel] = object("A list of orders.", map[string]spec.Schema{"apiVersion": version, "kind": kind, "metadata": to(listMeta),
		"items": {SchemaProps: spec.SchemaProps{Type: []string{"array"}, Items: &spec.SchemaOrArray{Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Ref: ref(orderModel)}}}}}},
		listMeta, orderModel)
	return out
}
