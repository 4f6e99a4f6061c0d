package reconcile

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// Definitions are those of custom resources.
var Definitions = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}

// learnKind notes that a definition's objects are shown to this engine: an owner of that kind which is not here does not exist, even if
// there was none since this term began.
func (e *Engine) learnKind(o *object) {
	d, ok := o.obj.(*api.Document)
	if !ok || o.gr != Definitions {
		return
	}
	var defined struct {
		Spec struct {
			Group string
			Names struct{ Kind string }
		}
	}
	if json.Unmarshal(d.Rest, &defined) == nil && defined.Spec.Names.Kind != "" {
		e.kindsSeen[schema.GroupKind{Group: defined.Spec.Group, Kind: defined.Spec.Names.Kind}] = true
	}
}
