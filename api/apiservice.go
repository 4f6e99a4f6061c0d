package api

import (
	"fmt"
	"time"

	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

func init() {
	Register(&Kind{
		GroupVersion: apiregistrationv1.SchemeGroupVersion,
		Name:         "APIService", Resource: "apiservices", Singular: "apiservice",
		Categories:     []string{"api-extensions"},
		ClusterScoped:  true,
		New:            func() runtime.Object { return &apiregistrationv1.APIService{} },
		NewList:        func() runtime.Object { return &apiregistrationv1.APIServiceList{} },
		Default:        with(defaultAPIService),
		Validate:       check(validateAPIService),
		ValidateUpdate: checkOld(func(s, _ *apiregistrationv1.APIService) field.ErrorList { return validateAPIService(s) }),
		ValidateStatusUpdate: checkOld(func(s, _ *apiregistrationv1.APIService) field.ErrorList {
			return validateAPIServiceStatus(s)
		}),
		ValidateName: pathvalidation.ValidatePathSegmentName,
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Service", "The reference to the service that hosts this API endpoint."),
			textColumn("Available", "Whether this service is available."),
			ageColumn,
		},
		Row: row(func(s *apiregistrationv1.APIService, now time.Time) []any {
			return []any{s.Name, apiServiceText(s), availableText(s), age(s.CreationTimestamp, now)}
		}),
		HasStatus: true,
	})
}

func defaultAPIService(s *apiregistrationv1.APIService) {
	if s.Spec.Service != nil {
		fillPtr(&s.Spec.Service.Port, 443)
	}
}

func apiServiceText(s *apiregistrationv1.APIService) string {
	if s.Spec.Service == nil {
		return "Local"
	}
	return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
}

func availableText(s *apiregistrationv1.APIService) string {
	c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
	switch {
	case c == nil:
		return string(apiregistrationv1.ConditionUnknown)
	case c.Status == apiregistrationv1.ConditionTrue || c.Reason == "":
		return string(c.Status)
	}
	return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
}

// The largest priorities that there are.
const (
	groupPriorityMax   = 20000
	versionPriorityMax = 1000
)

func validateAPIService(s *apiregistrationv1.APIService) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if required := s.Spec.Version + "." + s.Spec.Group; s.Name != required {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), s.Name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", required)))
	}
	switch {
	case s.Spec.Group != "":
		errs = append(errs, faults(spec.Child("group"), s.Spec.Group, validation.IsDNS1123Subdomain(s.Spec.Group))...)
	case s.Spec.Version != "v1":
		errs = append(errs, field.Required(spec.Child("group"), "only v1 may have an empty group and it better be legacy kube"))
	}
	errs = append(errs, faults(spec.Child("version"), s.Spec.Version, validation.IsDNS1035Label(s.Spec.Version))...)
	if n := s.Spec.GroupPriorityMinimum; n <= 0 || n > groupPriorityMax {
		errs = append(errs, field.Invalid(spec.Child("groupPriorityMinimum"), n, "must be positive and less than 20000"))
	}
	if n := s.Spec.VersionPriority; n <= 0 || n > versionPriorityMax {
		errs = append(errs, field.Invalid(spec.Child("versionPriority"), n, "must be positive and less than 1000"))
	}
	if s.Spec.Service == nil {
		return append(errs, validateLocalAPIService(s, spec)...)
	}
	return append(errs, validateRemoteAPIService(s, spec)...)
}

// validateLocalAPIService: to this server itself nobody connects.
func validateLocalAPIService(s *apiregistrationv1.APIService, spec *field.Path) (errs field.ErrorList) {
	if n := len(s.Spec.CABundle); n > 0 {
		errs = append(errs, field.Invalid(spec.Child("caBundle"), fmt.Sprintf("%d bytes", n), "local APIServices may not have a caBundle"))
	}
	if s.Spec.InsecureSkipTLSVerify {
		errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify"))
	}
	return errs
}

// validateRemoteAPIService: the core group is that of the cluster's own objects, which nobody else can have.
func validateRemoteAPIService(s *apiregistrationv1.APIService, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child("service")
	if s.Spec.Group == "" {
		errs = append(errs, field.Forbidden(path, "the core group is served by the cluster itself"))
	}
	if s.Spec.Service.Namespace == "" {
		errs = append(errs, field.Required(path.Child("namespace"), ""))
	}
	if s.Spec.Service.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	if p := s.Spec.Service.Port; p != nil {
		errs = append(errs, faults(path.Child("port"), *p, validation.IsValidPortNum(int(*p)))...)
	}
	if s.Spec.InsecureSkipTLSVerify && len(s.Spec.CABundle) > 0 {
		errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present"))
	}
	return errs
}

func validateAPIServiceStatus(s *apiregistrationv1.APIService) (errs field.ErrorList) {
	for i, c := range s.Status.Conditions {
		errs = append(errs, oneOf(c.Status, field.NewPath("status", "conditions").Index(i).Child("status"),
			apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionUnknown)...)
	}
	return errs
}
