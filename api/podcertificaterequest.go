package api

import (
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: certificatesv1.SchemeGroupVersion,
		Name:         "PodCertificateRequest", Resource: "podcertificaterequests", Singular: "podcertificaterequest",
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &certificatesv1.PodCertificateRequest{} },
		NewList:           func() runtime.Object { return &certificatesv1.PodCertificateRequestList{} },
		Default: with(func(r *certificatesv1.PodCertificateRequest) {
			fillPtr(&r.Spec.MaxExpirationSeconds, podCertificateSecondsDefault)
		}),
		Validate: check(validatePodCertificateRequest),
		ValidateUpdate: checkOld(func(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
			return validation.ValidateImmutableField(r.Spec, old.Spec, field.NewPath("spec"))
		}),
		ValidateStatusUpdate: checkOld(func(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
			return validatePodCertificateAnswer(r, old, time.Now())
		}),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("PodName", "The pod that the certificate is for."),
			textColumn("ServiceAccountName", "The account that the pod runs as."),
			textColumn("NodeName", "The node that the pod runs on."),
			textColumn("SignerName", "Who is asked to sign."),
			textColumn("State", "What the signer made of the request."),
		},
		Row: row(func(r *certificatesv1.PodCertificateRequest, _ time.Time) []any {
			s := &r.Spec
			return []any{r.Name, s.PodName, s.ServiceAccountName, string(s.NodeName), s.SignerName, podCertificateState(r)}
		}),
		FieldLabels: []string{"spec.signerName", "spec.podName", "spec.nodeName"},
		Fields: selectable(func(r *certificatesv1.PodCertificateRequest) fields.Set {
			return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
		}),
		HasStatus: true,
	})
}

// podCertificateAnswers are the conditions that end a request. It has one of them at most.
var podCertificateAnswers = []string{
	certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed,
	certificatesv1.PodCertificateRequestConditionTypeIssued,
}

// podCertificateAnswer is the condition that ended a request, and "" while none did.
func podCertificateAnswer(s *certificatesv1.PodCertificateRequestStatus) string {
	for _, c := range s.Conditions {
		if slices.Contains(podCertificateAnswers, c.Type) {
			return c.Type
		}
	}
	return ""
}

func podCertificateState(r *certificatesv1.PodCertificateRequest) string {
	if answer := podCertificateAnswer(&r.Status); answer != "" {
		return answer
	}
	return "Pending"
}
