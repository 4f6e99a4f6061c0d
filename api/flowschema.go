package api

import (
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/utils/ptr"
)

// matchingPrecedenceUnset is the precedence of a flow schema that names none.
const matchingPrecedenceUnset = 1000

func init() {
	Register(&Kind{
		GroupVersion: flowcontrolv1.SchemeGroupVersion,
		Name:         "FlowSchema", Resource: "flowschemas", Singular: "flowschema",
		ClusterScoped: true,
		New:           func() runtime.Object { return &flowcontrolv1.FlowSchema{} },
		NewList:       func() runtime.Object { return &flowcontrolv1.FlowSchemaList{} },
		Default: with(func(f *flowcontrolv1.FlowSchema) {
			fill(&f.Spec.MatchingPrecedence, matchingPrecedenceUnset)
		}),
		Validate:             check(validateFlowSchema),
		ValidateUpdate:       checkOld(func(f, _ *flowcontrolv1.FlowSchema) field.ErrorList { return validateFlowSchema(f) }),
		ValidateStatusUpdate: checkOld(func(f, _ *flowcontrolv1.FlowSchema) field.ErrorList { return validateFlowSchema(f) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("PriorityLevel", "The priority level of the requests that match."),
			textColumn("MatchingPrecedence", "Of the schemas that match a request, the lowest number wins."),
			textColumn("DistinguisherMethod", "What tells the flows of the schema apart."),
			ageColumn,
			textColumn("MissingPL", "Whether the priority level does not exist."),
		},
		Row: row(func(f *flowcontrolv1.FlowSchema, now time.Time) []any {
			method := cellNone
			if m := f.Spec.DistinguisherMethod; m != nil {
				method = string(m.Type)
			}
			return []any{
				f.Name, f.Spec.PriorityLevelConfiguration.Name, itoa(int(f.Spec.MatchingPrecedence)), method, age(f.CreationTimestamp, now), danglingText(f),
			}
		}),
		HasStatus:     true,
		HasGeneration: true,
	})
}

func danglingText(f *flowcontrolv1.FlowSchema) string {
	for _, c := range f.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			return string(c.Status)
		}
	}
	return "?"
}

// FlowSchemas are those that Kubernetes makes when a cluster begins, from the list that its API server library publishes: the mandatory
// ones, which must always be as they are here, and the suggested ones, which the cluster's owner may change.
func FlowSchemas() (mandatory, suggested []*flowcontrolv1.FlowSchema) {
	return copies(bootstrap.MandatoryFlowSchemas), copies(bootstrap.SuggestedFlowSchemas)
}

// globalDefaultShares are of the priority level of people, which has 20 in Kubernetes. Requests keep their places here while they wait for a
// processor, for which users take turns; and priority and fairness charges a request's time at its end, so somebody whose requests fill
// a level comes before all others until as many are over. A level with this share is filled by no single user.
const globalDefaultShares = 160

// PriorityLevels are to PriorityLevelConfiguration what FlowSchemas are to FlowSchema, but for a larger share of global-default.
func PriorityLevels() (mandatory, suggested []*flowcontrolv1.PriorityLevelConfiguration) {
	mandatory, suggested = copies(bootstrap.MandatoryPriorityLevelConfigurations), copies(bootstrap.SuggestedPriorityLevelConfigurations)
	for _, l := range suggested {
		if l.Name == bootstrap.SuggestedPriorityLevelConfigurationGlobalDefault.Name {
			l.Spec.Limited.NominalConcurrencyShares = ptr.To[int32](globalDefaultShares)
		}
	}
	return mandatory, suggested
}

// copies keeps the library's own objects from being changed by whoever stores them.
func copies[P interface{ DeepCopy() P }](list []P) []P {
	out := make([]P, len(list))
	for i, o := range list {
		out[i] = o.DeepCopy()
	}
	return out
}
