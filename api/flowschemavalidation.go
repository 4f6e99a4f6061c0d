package api

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

// flowVerbs are the verbs that a rule may name.
var flowVerbs = sets.New("get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy")

func validateFlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateFlowSchemaSpec(&f.Spec, f.Name, spec)
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == f.Name && !equality.Semantic.DeepEqual(fixed.Spec, f.Spec) {
			errs = append(errs, field.Invalid(spec, f.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", f.Name)))
		}
	}
	return append(errs, validateConditionTypes(f.Status.Conditions, field.NewPath("status", "conditions"),
		func(c flowcontrolv1.FlowSchemaCondition) string { return string(c.Type) })...)
}

// validateConditionTypes: a condition has a type, and a type one condition.
func validateConditionTypes[C any](list []C, path *field.Path, typeOf func(C) string) (errs field.ErrorList) {
	seen := sets.New[string]()
	for i, c := range list {
		t, at := typeOf(c), path.Index(i).Child("type")
		if seen.Has(t) {
			errs = append(errs, field.Duplicate(at, t))
		}
		seen.Insert(t)
		if t == "" {
			errs = append(errs, field.Required(at, "must not be empty"))
		}
	}
	return errs
}

func validateFlowSchemaSpec(s *flowcontrolv1.FlowSchemaSpec, name string, spec *field.Path) (errs field.ErrorList) {
	precedence := spec.Child("matchingPrecedence")
	switch n := s.MatchingPrecedence; {
	case n <= 0:
		errs = append(errs, field.Invalid(precedence, n, "must be a positive value"))
	case n > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		errs = append(errs, field.Invalid(precedence, n, fmt.Sprintf("must not be greater than %d", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)))
	case n == 1 && name != flowcontrolv1.FlowSchemaNameExempt:
		errs = append(errs, field.Invalid(precedence, n, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if m := s.DistinguisherMethod; m != nil {
		errs = append(errs, oneOf(m.Type, spec.Child("distinguisherMethod", "type"),
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)...)
	}
	level := spec.Child("priorityLevelConfiguration", "name")
	if n := s.PriorityLevelConfiguration.Name; n == "" {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	} else {
		errs = append(errs, faults(level, n, validation.NameIsDNSSubdomain(n, false))...)
	}
	for i := range s.Rules {
		errs = append(errs, validateFlowRules(&s.Rules[i], spec.Child("rules").Index(i))...)
	}
	return errs
}

func validateFlowRules(r *flowcontrolv1.PolicyRulesWithSubjects, path *field.Path) (errs field.ErrorList) {
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(path.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, validateFlowSubject(&r.Subjects[i], path.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i := range r.ResourceRules {
		errs = append(errs, validateResourceRule(&r.ResourceRules[i], path.Child("resourceRules").Index(i))...)
	}
	for i := range r.NonResourceRules {
		errs = append(errs, validateNonResourceRule(&r.NonResourceRules[i], path.Child("nonResourceRules").Index(i))...)
	}
	return errs
}

// validateFlowSubject: the kind says which one of the other fields is there.
func validateFlowSubject(s *flowcontrolv1.Subject, path *field.Path) field.ErrorList {
	members := []struct {
		kind     flowcontrolv1.SubjectKind
		name     string
		set      bool
		validate func(path *field.Path) field.ErrorList
	}{
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil, func(at *field.Path) field.ErrorList { return requireName(s.User.Name, at) }},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil, func(at *field.Path) field.ErrorList { return requireName(s.Group.Name, at) }},
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil, func(at *field.Path) field.ErrorList {
			return validateFlowServiceAccount(s.ServiceAccount, at)
		}},
	}
	errs := oneOf(s.Kind, path.Child("kind"),
		flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
	if len(errs) > 0 {
		return errs
	}
	for _, m := range members {
		at := path.Child(m.name)
		switch {
		case m.kind == s.Kind && !m.set:
			errs = append(errs, field.Required(at, fmt.Sprintf("%s is required when subject kind is '%s'", m.name, m.kind)))
		case m.kind == s.Kind:
			errs = append(errs, m.validate(at)...)
		case m.set:
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("%s is forbidden when subject kind is not '%s'", m.name, m.kind)))
		}
	}
	return errs
}

func requireName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path.Child("name"), "")}
	}
	return nil
}

func validateFlowServiceAccount(s *flowcontrolv1.ServiceAccountSubject, path *field.Path) field.ErrorList {
	errs := requireName(s.Name, path)
	if s.Name != "" && s.Name != flowcontrolv1.NameAll {
		errs = append(errs, faults(path.Child("name"), s.Name, validation.ValidateServiceAccountName(s.Name, false))...)
	}
	if s.Namespace == "" {
		return append(errs, field.Required(path.Child("namespace"), "must specify namespace for service account"))
	}
	return append(errs, faults(path.Child("namespace"), s.Namespace, validation.ValidateNamespaceName(s.Namespace, false))...)
}

// onlyWildcard: "*" stands for everything, so nothing may stand beside it.
func onlyWildcard(list []string, path *field.Path, what string) field.ErrorList {
	if len(list) > 1 && slices.Contains(list, "*") {
		return field.ErrorList{field.Invalid(path, list, fmt.Sprintf("if '*' is present, must not specify other %s", what))}
	}
	return nil
}

func validateFlowVerbs(verbs []string, path *field.Path) field.ErrorList {
	switch {
	case len(verbs) == 0:
		return field.ErrorList{field.Required(path, "verbs must contain at least one value")}
	case slices.Contains(verbs, flowcontrolv1.VerbAll):
		return onlyWildcard(verbs, path, "verbs")
	case !flowVerbs.HasAll(verbs...):
		return field.ErrorList{field.NotSupported(path, verbs, sets.List(flowVerbs))}
	}
	return nil
}

func validateResourceRule(r *flowcontrolv1.ResourcePolicyRule, path *field.Path) field.ErrorList {
	errs := validateFlowVerbs(r.Verbs, path.Child("verbs"))
	groups, resources, namespaces := path.Child("apiGroups"), path.Child("resources"), path.Child("namespaces")
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(groups, "resource rules must supply at least one api group"))
	}
	errs = append(errs, onlyWildcard(r.APIGroups, groups, "api groups")...)
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(resources, "resource rules must supply at least one resource"))
	}
	errs = append(errs, onlyWildcard(r.Resources, resources, "resources")...)
	if len(r.Namespaces) == 0 && !r.ClusterScope {
		errs = append(errs, field.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace"))
	}
	if slices.Contains(r.Namespaces, flowcontrolv1.NamespaceEvery) {
		return append(errs, onlyWildcard(r.Namespaces, namespaces, "namespaces")...)
	}
	for i, ns := range r.Namespaces {
		for _, msg := range validation.ValidateNamespaceName(ns, false) {
			errs = append(errs, field.Invalid(namespaces.Index(i), ns, "each member of this list must be '*' or a DNS-1123 label; "+msg))
		}
	}
	return errs
}

func validateNonResourceRule(r *flowcontrolv1.NonResourcePolicyRule, path *field.Path) field.ErrorList {
	errs := validateFlowVerbs(r.Verbs, path.Child("verbs"))
	urls := path.Child("nonResourceURLs")
	if len(r.NonResourceURLs) == 0 {
		return append(errs, field.Required(urls, "nonResourceURLs must contain at least one value"))
	}
	if slices.Contains(r.NonResourceURLs, flowcontrolv1.NonResourceAll) {
		return append(errs, onlyWildcard(r.NonResourceURLs, urls, "non-resource URLs")...)
	}
	for i, url := range r.NonResourceURLs {
		if fault := nonResourceFault(url); fault != "" {
			errs = append(errs, field.Invalid(urls.Index(i), url, fault))
		}
	}
	return errs
}

// nonResourceFault says what is wrong with a path such as "/healthz" or "/healthz/*".
func nonResourceFault(url string) string {
	stars := strings.Count(url, "*")
	switch {
	case url == "":
		return "must not be empty"
	case !strings.HasPrefix(url, "/"):
		return "must start with slash"
	case strings.Contains(url, " "):
		return "must not contain white-space"
	case strings.Contains(url, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(url, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
