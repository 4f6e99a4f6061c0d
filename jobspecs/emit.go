package jobspecs

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// toUnstructured gives an object as a person would have written it: without status and without the
// empty fields that Go's encoding leaves behind.
func toUnstructured(o runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", o.GetObjectKind().GroupVersionKind().Kind, err)
	}
	delete(content, "status")
	tidy(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// tidy drops nulls everywhere, and empty maps where they say nothing.
func tidy(m map[string]any) {
	for k, v := range m {
		switch t := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			tidy(t)
			if len(t) == 0 && (k == "resources" || k == "strategy") {
				delete(m, k)
			}
		case []any:
			for _, e := range t {
				if inner, ok := e.(map[string]any); ok {
					tidy(inner)
				}
			}
		}
	}
}
