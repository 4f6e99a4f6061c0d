package kube

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// customParts are the group versions of custom resources. Their documents are built when they are asked for, as those of the table's
// kinds are: a thousand definitions cost nobody a thousand documents.
func customParts(list []*apiextensionsv1.CustomResourceDefinition) map[string]openAPIPart {
	by := map[string][]*apiextensionsv1.CustomResourceDefinition{}
	version := map[string]string{}
	for _, d := range list {
		for _, v := range servedVersionsOf(d) {
			path := "apis/" + d.Spec.Group + "/" + v
			by[path], version[path] = append(by[path], d), v
		}
	}
	out := make(map[string]openAPIPart, len(by))
	for path, of := range by {
		h := sha256.New()
		for _, d := range of {
			fmt.Fprintln(h, path, d.Name, d.UID, d.Generation, d.Status.AcceptedNames)
		}
		out[path] = openAPIPart{hashOf(h), func() (*spec3.OpenAPI, error) { return customV3(of, version[path]) }}
	}
	return out
}

func customV3(list []*apiextensionsv1.CustomResourceDefinition, version string) (*spec3.OpenAPI, error) {
	all := make([]*spec3.OpenAPI, len(list))
	for i, d := range list {
		var err error
		if all[i], err = crdbuilder.BuildOpenAPIV3(d, version, crdbuilder.Options{IncludeSelectableFields: true}); err != nil {
			return nil, fmt.Errorf("describing %s: %w", d.Name, err)
		}
	}
	return crdbuilder.MergeSpecsV3(all...)
}

// swaggerMerger joins documents of version 2 as text, field by field: what one has first stays, as shared things are the same in all.
type swaggerMerger struct {
	whole  map[string]json.RawMessage // of the first document
	fields [3]map[string]json.RawMessage
}

// swaggerFields are those that have an entry for each type, path or shared parameter.
var swaggerFields = [3]string{"definitions", "paths", "parameters"}

func (m *swaggerMerger) add(doc *spec.Swagger) error {
	text, err := doc.MarshalJSON()
	if err != nil {
		return err
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	for i, name := range swaggerFields {
		var entries map[string]json.RawMessage
		if raw, ok := whole[name]; ok {
			if err := json.Unmarshal(raw, &entries); err != nil {
				return err
			}
		}
		if m.fields[i] == nil {
			m.fields[i] = map[string]json.RawMessage{}
		}
		for k, v := range entries {
			if _, has := m.fields[i][k]; !has {
				m.fields[i][k] = v
			}
		}
	}
	if m.whole == nil {
		m.whole = whole
	}
	return nil
}

// addCustom adds every served version of a definition.
func (m *swaggerMerger) addCustom(d *apiextensionsv1.CustomResourceDefinition) error {
	for _, v := range servedVersionsOf(d) {
		doc, err := crdbuilder.BuildOpenAPIV2(d, v, crdbuilder.Options{V2: true, IncludeSelectableFields: true})
		if err != nil {
			return fmt.Errorf("describing %s: %w", d.Name, err)
		}
		doc.Definitions = handler.PruneDefaults(doc.Definitions)
		if err := m.add(doc); err != nil {
			return err
		}
	}
	return nil
}

func (m *swaggerMerger) document() ([]byte, error) {
	for i, name := range swaggerFields {
		raw, err := json.Marshal(m.fields[i])
		if err != nil {
			return nil, err
		}
		m.whole[name] = raw
	}
	return json.Marshal(m.whole)
}
