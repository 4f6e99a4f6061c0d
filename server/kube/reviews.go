package kube

import (
	"context"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/peapod-sh/peapod/api"
)

// review is a resource that can only be created, and is answered instead of stored: it asks who somebody is or what he may do.
type review[T metaObject] struct {
	singular   string
	namespaced bool
	make       func() T
	check      func(T) field.ErrorList
	// answer fills in the status; namespace is that of the request.
	answer func(ctx context.Context, namespace string, r T) error
}

var (
	_ rest.Storage              = (*review[*authorizationv1.SubjectAccessReview])(nil)
	_ rest.Scoper               = (*review[*authorizationv1.SubjectAccessReview])(nil)
	_ rest.SingularNameProvider = (*review[*authorizationv1.SubjectAccessReview])(nil)
	_ rest.Creater              = (*review[*authorizationv1.SubjectAccessReview])(nil)
)

func (r *review[T]) New() runtime.Object     { return r.make() }
func (r *review[T]) Destroy()                {}
func (r *review[T]) NamespaceScoped() bool   { return r.namespaced }
func (r *review[T]) GetSingularName() string { return r.singular }

func (r *review[T]) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	q := obj.(T)
	if r.check != nil {
		if errs := append(withoutMetadata(q, r.namespaced), r.check(q)...); len(errs) > 0 {
			kinds, _, err := api.Scheme.ObjectKinds(obj)
			if err != nil {
				return nil, apierrors.NewInternalError(err)
			}
			return nil, apierrors.NewInvalid(kinds[0].GroupKind(), "", errs)
		}
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return q, r.answer(ctx, request.NamespaceValue(ctx), q)
}

// withoutMetadata refuses names and labels that would lead nowhere. Managed fields are the server's own.
func withoutMetadata(o metav1.Object, namespaced bool) field.ErrorList {
	bare := metav1.ObjectMeta{Name: o.GetName(), GenerateName: o.GetGenerateName(), Namespace: o.GetNamespace(), Labels: o.GetLabels(), Annotations: o.GetAnnotations(),
		OwnerReferences: o.GetOwnerReferences(), Finalizers: o.GetFinalizers()}
	what := "must be empty"
	if namespaced {
		bare.Namespace = ""
		what = "must be empty except for namespace"
	}
	if equality.Semantic.DeepEqual(bare, metav1.ObjectMeta{}) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), o.GetName(), what)}
}

// reviews adds the resources that are answered.
func (s *Server) reviews(groups map[schema.GroupVersion]served) {
	v := reviewer{s.config.Authorizer, s.config.Rules, s.authenticator}
	groups[authorizationv1.SchemeGroupVersion] = served{
		"subjectaccessreviews": &review[*authorizationv1.SubjectAccessReview]{singular: "subjectaccessreview",
			make:   func() *authorizationv1.SubjectAccessReview { return &authorizationv1.SubjectAccessReview{} },
			check:  func(r *authorizationv1.SubjectAccessReview) field.ErrorList { return validateAccess(&r.Spec) },
			answer: v.subject},
		"localsubjectaccessreviews": &review[*authorizationv1.LocalSubjectAccessReview]{singular: "localsubjectaccessreview", namespaced: true,
			make:   func() *authorizationv1.LocalSubjectAccessReview { return &authorizationv1.LocalSubjectAccessReview{} },
			check:  validateLocalAccess,
			answer: v.local},
		"selfsubjectaccessreviews": &review[*authorizationv1.SelfSubjectAccessReview]{singular: "selfsubjectaccessreview",
			make: func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} },
			check: func(r *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
				return validateAttributes(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
			},
			answer: v.self},
		"selfsubjectrulesreviews": &review[*authorizationv1.SelfSubjectRulesReview]{singular: "selfsubjectrulesreview",
			make:   func() *authorizationv1.SelfSubjectRulesReview { return &authorizationv1.SelfSubjectRulesReview{} },
			answer: v.rules},
	}
	groups[authenticationv1.SchemeGroupVersion] = served{
		"tokenreviews": &review[*authenticationv1.TokenReview]{singular: "tokenreview",
			make:   func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} },
			answer: v.token},
		"selfsubjectreviews": &review[*authenticationv1.SelfSubjectReview]{singular: "selfsubjectreview",
			make:   func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} },
			answer: v.whoami},
	}
}

// reviewer answers reviews.
type reviewer struct {
	authorizer    authorizer.Authorizer
	resolver      authorizer.RuleResolver // nil if the authorizer's rules cannot be listed
	authenticator authenticator.Request
}

func validateAccess(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateAttributes(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateLocalAccess(r *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := validateAccess(&r.Spec)
	at := field.NewPath("spec")
	if r.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(at.Child("nonResourceAttributes"), r.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(at.Child("resourceAttributes", "namespace"), a.Namespace, "must match metadata.namespace"))
	}
	return errs
}

func validateAttributes(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	at := field.NewPath("spec")
	if (r != nil) == (n != nil) {
		which := at.Child("resourceAttributes")
		if r != nil {
			which = at.Child("nonResourceAttributes")
		}
		return field.ErrorList{field.Invalid(which, nil, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	if r == nil {
		return nil
	}
	return append(validateSelector(at.Child("resourceAttributes", "fieldSelector"), r.FieldSelector),
		validateLabels(at.Child("resourceAttributes", "labelSelector"), r.LabelSelector)...)
}

func validateSelector(at *field.Path, s *authorizationv1.FieldSelectorAttributes) field.ErrorList {
	if s == nil {
		return nil
	}
	return rawOrRequirements(at, s.RawSelector, len(s.Requirements))
}

func validateLabels(at *field.Path, s *authorizationv1.LabelSelectorAttributes) field.ErrorList {
	if s == nil {
		return nil
	}
	return rawOrRequirements(at, s.RawSelector, len(s.Requirements))
}

func rawOrRequirements(at *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), "when "+at.String()+" is specified, requirements or rawSelector is required")}
	}
	return nil
}

func (v reviewer) subject(ctx context.Context, _ string, r *authorizationv1.SubjectAccessReview) error {
	return v.decide(ctx, userInSpec(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes, &r.Status)
}

func (v reviewer) local(ctx context.Context, namespace string, r *authorizationv1.LocalSubjectAccessReview) error {
	if r.Spec.ResourceAttributes.Namespace != namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	return v.decide(ctx, userInSpec(&r.Spec), r.Spec.ResourceAttributes, nil, &r.Status)
}

func (v reviewer) self(ctx context.Context, _ string, r *authorizationv1.SelfSubjectAccessReview) error {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	return v.decide(ctx, u, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes, &r.Status)
}

func userInSpec(s *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: s.User, UID: s.UID, Groups: s.Groups, Extra: map[string][]string{}}
	for k, v := range s.Extra {
		u.Extra[k] = v
	}
	return u
}

func (v reviewer) decide(ctx context.Context, u user.Info, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes,
	out *authorizationv1.SubjectAccessReviewStatus) error {
	decision, reason, err := v.authorizer.Authorize(ctx, attributesOf(u, r, n))
	*out = authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason}
	if err != nil {
		out.EvaluationError = err.Error()
	}
	return nil
}

func attributesOf(u user.Info, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizer.Attributes {
	if r == nil {
		return authorizer.AttributesRecord{User: u, Verb: n.Verb, Path: n.Path}
	}
	a := authorizer.AttributesRecord{User: u, Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.Group, APIVersion: r.Version, Resource: r.Resource,
		Subresource: r.Subresource, Name: r.Name, ResourceRequest: true}
	if a.APIVersion == "" {
		a.APIVersion = "*"
	}
	if s := r.FieldSelector; s != nil && s.RawSelector != "" {
		if parsed, err := fields.ParseSelector(s.RawSelector); err == nil {
			a.FieldSelectorRequirements = parsed.Requirements()
		}
	}
	if s := r.LabelSelector; s != nil && s.RawSelector != "" {
		if parsed, err := labels.Parse(s.RawSelector); err == nil {
			a.LabelSelectorRequirements, _ = parsed.Requirements()
		}
	}
	return a
}

// rules lists what the caller may do in a namespace.
func (v reviewer) rules(ctx context.Context, _ string, r *authorizationv1.SelfSubjectRulesReview) error {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	if r.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	if v.resolver == nil {
		r.Status = authorizationv1.SubjectRulesReviewStatus{Incomplete: true, EvaluationError: "the authorizer cannot list its rules"}
		return nil
	}
	resources, others, incomplete, err := v.resolver.RulesFor(ctx, u, r.Spec.Namespace)
	// Empty lists, not null: clients range over them.
	status := authorizationv1.SubjectRulesReviewStatus{Incomplete: incomplete,
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	for _, rule := range resources {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(),
			Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames()})
	}
	for _, rule := range others {
		status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	r.Status = status
	return nil
}

// token says whose token it is.
func (v reviewer) token(ctx context.Context, _ string, r *authenticationv1.TokenReview) error {
	if r.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	if len(r.Spec.Audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, r.Spec.Audiences)
	}
	q := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + r.Spec.Token}}}).WithContext(ctx)
	answer, ok, err := v.authenticator.AuthenticateRequest(q)
	r.Status = authenticationv1.TokenReviewStatus{Authenticated: ok && err == nil}
	if err != nil {
		r.Status.Error = err.Error()
	}
	if r.Status.Authenticated {
		r.Status.User = userInfo(answer.User)
		r.Status.Audiences = answer.Audiences
	}
	return nil
}

// whoami says who the caller is.
func (v reviewer) whoami(ctx context.Context, _ string, r *authenticationv1.SelfSubjectReview) error {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	r.Status = authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(u)}
	return nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for k, v := range u.GetExtra() {
		if out.Extra == nil {
			out.Extra = map[string]authenticationv1.ExtraValue{}
		}
		out.Extra[k] = v
	}
	return out
}
