package api

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: policyv1.SchemeGroupVersion,
		Name:         "PodDisruptionBudget", Resource: "poddisruptionbudgets", Singular: "poddisruptionbudget", ShortNames: []string{"pdb"},
		ConditionalUpdate:    true,
		New:                  func() runtime.Object { return &policyv1.PodDisruptionBudget{} },
		NewList:              func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
		Validate:             check(validateDisruptionBudget),
		ValidateUpdate:       checkOld(func(b, _ *policyv1.PodDisruptionBudget) field.ErrorList { return validateDisruptionBudget(b) }),
		ValidateStatusUpdate: checkOld(validateDisruptionBudgetStatus),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Min Available", "How many pods must stay available, as a number or a share."),
			textColumn("Max Unavailable", "How many pods may be unavailable, as a number or a share."),
			numberColumn("Allowed Disruptions", "How many pods may be disrupted now."),
			ageColumn,
		},
		Row: row(func(b *policyv1.PodDisruptionBudget, now time.Time) []any {
			return []any{
				b.Name, shareText(b.Spec.MinAvailable), shareText(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), age(b.CreationTimestamp, now),
			}
		}),
		HasStatus:     true,
		HasGeneration: true,
	})
}

// shareText shows one of the two bounds of a budget; the other one is not set.
func shareText(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func validateDisruptionBudget(b *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
	s, spec := &b.Spec, field.NewPath("spec")
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(spec, *s, "minAvailable and maxUnavailable cannot be both set"))
	}
	errs = append(errs, validateShare(s.MinAvailable, spec.Child("minAvailable"))...)
	errs = append(errs, validateShare(s.MaxUnavailable, spec.Child("maxUnavailable"))...)
	errs = append(errs, validateSelector(s.Selector, spec.Child("selector"))...)
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		errs = append(errs, oneOf(*p, spec.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

// validateShare checks a number, or a per cent of which there are at most a hundred; absent is fine.
func validateShare(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	errs := validateNumberOrPercent(*v, path)
	if len(errs) == 0 && v.Type == intstr.String && numberOf(*v) > 100 {
		errs = append(errs, field.Invalid(path, *v, "must not be greater than 100%"))
	}
	return errs
}

func validateDisruptionBudgetStatus(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	s, path := &b.Status, field.NewPath("status")
	c := counts{path: path, errs: metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))}
	c.add("disruptionsAllowed", s.DisruptionsAllowed)
	c.add("currentHealthy", s.CurrentHealthy)
	c.add("desiredHealthy", s.DesiredHealthy)
	c.add("expectedPods", s.ExpectedPods)
	return c.errs
}
