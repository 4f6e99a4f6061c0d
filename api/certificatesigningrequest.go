package api

import (
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/authentication/user"
)

func init() {
	Register(&Kind{
		GroupVersion: certificatesv1.SchemeGroupVersion,
		Name:         "CertificateSigningRequest", Resource: "certificatesigningrequests", Singular: "certificatesigningrequest",
		ShortNames:    []string{"csr"},
		ClusterScoped: true,
		New:           func() runtime.Object { return &certificatesv1.CertificateSigningRequest{} },
		NewList:       func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
		// Who asks is the server's to say: see SetRequester.
		PrepareForCreate: with(func(r *certificatesv1.CertificateSigningRequest) {
			r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
		}),
		// What is asked for stays as it was when someone approved it.
		PrepareForUpdate: withOld(func(r, old *certificatesv1.CertificateSigningRequest) { r.Spec = old.Spec }),
		PrepareForStatusUpdate: withOld(func(r, old *certificatesv1.CertificateSigningRequest) {
			prepareSigning(r, old, metav1.Now())
		}),
		Validate:             check(validateSigningRequest),
		ValidateUpdate:       checkOld(validateSigningRequestUpdate),
		ValidateStatusUpdate: checkOld(validateSigning),
		ValidateName:         func(string, bool) []string { return nil },
		Columns: []metav1.TableColumnDefinition{
			nameColumn, ageColumn,
			textColumn("SignerName", "Who is asked to sign."),
			textColumn("Requestor", "Who asks."),
			textColumn("RequestedDuration", "For how long the certificate should be valid."),
			textColumn("Condition", "Whether the request is approved, and the certificate issued."),
		},
		Row:         row(signingRequestRow),
		FieldLabels: []string{"spec.signerName"},
		Fields: selectable(func(r *certificatesv1.CertificateSigningRequest) fields.Set {
			return fields.Set{"spec.signerName": r.Spec.SignerName}
		}),
		HasStatus: true,
	})
}

// SetRequester records the user who creates a request, in place of what the user himself may have
// written there. It comes after PrepareForCreate.
func SetRequester(r *certificatesv1.CertificateSigningRequest, u user.Info) {
	r.Spec.Username, r.Spec.UID, r.Spec.Groups = u.GetName(), u.GetUID(), slices.Clone(u.GetGroups())
	r.Spec.Extra = nil
	if extra := u.GetExtra(); len(extra) > 0 {
		r.Spec.Extra = make(map[string]certificatesv1.ExtraValue, len(extra))
		for key, values := range extra {
			r.Spec.Extra[key] = slices.Clone(values)
		}
	}
}

// prepareSigning serves the status subresource, which is the signer's. It keeps the verdict as it
// was, so that a signer who read it in an older form does not lose what that form lacked; a verdict
// added or taken away is left for validation to refuse.
func prepareSigning(r, old *certificatesv1.CertificateSigningRequest, now metav1.Time) {
	keepConditions(r, old, certificatesv1.CertificateApproved)
	keepConditions(r, old, certificatesv1.CertificateDenied)
	stampConditions(r, old, now)
}

// PrepareApprovalUpdate serves the approval subresource: it changes conditions and nothing else.
func PrepareApprovalUpdate(r, old *certificatesv1.CertificateSigningRequest, now metav1.Time) {
	stampConditions(r, old, now)
	r.Spec, r.Status.Certificate = old.Spec, old.Status.Certificate
}

// keepConditions puts the old conditions of a type where the new ones are, if there are as many.
func keepConditions(r, old *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) {
	was := conditionsOf(old, t)
	if len(was) != len(conditionsOf(r, t)) {
		return
	}
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == t {
			r.Status.Conditions[i], was = was[0], was[1:]
		}
	}
}

func conditionsOf(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType,
) (out []certificatesv1.CertificateSigningRequestCondition) {
	for _, c := range r.Status.Conditions {
		if c.Type == t {
			out = append(out, c)
		}
	}
	return out
}

// stampConditions gives conditions the times that they lack: a condition that keeps its status keeps
// the time at which it took it.
func stampConditions(r, old *certificatesv1.CertificateSigningRequest, now metav1.Time) {
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range conditionsOf(old, c.Type) {
			if was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
				break
			}
		}
	}
}

func signingRequestRow(r *certificatesv1.CertificateSigningRequest, now time.Time) []any {
	wanted := cellNone
	if s := r.Spec.ExpirationSeconds; s != nil {
		wanted = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	return []any{r.Name, age(r.CreationTimestamp, now), orNone(r.Spec.SignerName), r.Spec.Username, wanted, signingText(r)}
}

// signingText is the verdict, and what came of it.
func signingText(r *certificatesv1.CertificateSigningRequest) string {
	has := func(t certificatesv1.RequestConditionType) bool { return len(conditionsOf(r, t)) > 0 }
	words := []string{"Pending"}
	switch {
	case has(certificatesv1.CertificateDenied):
		words[0] = "Denied"
	case has(certificatesv1.CertificateApproved):
		words[0] = "Approved"
	}
	if has(certificatesv1.CertificateFailed) {
		words = append(words, "Failed")
	}
	if len(r.Status.Certificate) > 0 {
		words = append(words, "Issued")
	}
	return strings.Join(words, ",")
}
