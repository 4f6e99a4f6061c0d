package openapi

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Whoever follows a reference from one definition must find the other, or kubectl explain breaks.
func TestEveryReferenceIsDefined(t *testing.T) {
	defs := GetOpenAPIDefinitions(func(path string) spec.Ref { return spec.MustCreateRef("#/" + path) })
	for _, name := range []string{corev1.Pod{}.OpenAPIModelName(), appsv1.Deployment{}.OpenAPIModelName()} {
		if _, ok := defs[name]; !ok {
			t.Errorf("no definition of %s", name)
		}
	}
	for name, def := range defs {
		for _, dep := range def.Dependencies {
			if _, ok := defs[dep]; !ok {
				t.Errorf("%s refers to %s, which is not defined", name, dep)
			}
		}
	}
}
