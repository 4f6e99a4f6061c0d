package kube

import (
	"crypto/sha256"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/kube-openapi/pkg/spec3"
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
