package api

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The labels of PEM blocks.
const (
	pemRequest     = "CERTIFICATE REQUEST"
	pemCertificate = "CERTIFICATE"
)

// legacySigner stood for requests without a signer before version v1, which does not know it.
const legacySigner = "kubernetes.io/legacy-unknown"

var keyUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment,
	certificatesv1.UsageKeyEncipherment, certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign, certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageAny, certificatesv1.UsageServerAuth, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping, certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC,
	certificatesv1.UsageNetscapeSGC,
}

func validateSigningRequest(r *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	s, spec := &r.Spec, field.NewPath("spec")
	if err := checkRequest(s.Request); err != nil {
		errs = append(errs, field.Invalid(spec.Child("request"), s.Request, err.Error()))
	}
	errs = append(errs, validateUsages(s.Usages, spec.Child("usages"))...)
	errs = append(errs, validateSignerName(s.SignerName, spec.Child("signerName"))...)
	if s.SignerName == legacySigner {
		errs = append(errs, field.Invalid(spec.Child("signerName"), s.SignerName, "the legacy signerName is not allowed via this API version"))
	}
	if n := s.ExpirationSeconds; n != nil && *n < certificateSecondsMin {
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), *n, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return append(errs, validateVerdict(r.Status.Conditions, field.NewPath("status", "conditions"))...)
}

// checkRequest reads the request and checks that whoever made it holds the key.
func checkRequest(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemRequest {
		return errors.New("PEM block type must be " + pemRequest)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

func validateUsages(usages []certificatesv1.KeyUsage, path *field.Path) (errs field.ErrorList) {
	if len(usages) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	for i, u := range usages {
		errs = append(errs, oneOf(u, path.Index(i), slices.Clone(keyUsages)...)...)
		if slices.Contains(usages[:i], u) {
			errs = append(errs, field.Duplicate(path.Index(i), u))
		}
	}
	return errs
}

// validateSignerName wants a domain of two labels or more, and a path of one segment.
func validateSignerName(name string, at *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	domain, path, found := strings.Cut(name, "/")
	if !found || strings.Contains(path, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	if len(domain) > utilvalidation.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(at, domain, utilvalidation.DNS1123SubdomainMaxLength))
	}
	labels := strings.Split(domain, ".")
	errs = append(errs, validateParts(domain, labels, utilvalidation.IsDNS1123Label, at)...)
	if len(labels) < 2 {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, validateParts(path, strings.Split(path, "."), utilvalidation.IsDNS1123Subdomain, at)...)
	if len(path) > signerPathBytesMax {
		errs = append(errs, field.TooLong(at, path, signerPathBytesMax))
	}
	return errs
}

func validateParts(whole string, parts []string, faultsOf func(string) []string, at *field.Path) (errs field.ErrorList) {
	for _, p := range parts {
		for _, msg := range faultsOf(p) {
			errs = append(errs, field.Invalid(at, whole, fmt.Sprintf("validating label %q: %s", p, msg)))
		}
	}
	return errs
}

// validateVerdict: known conditions are only ever true, each stands once, and a request is not both
// approved and denied.
func validateVerdict(conditions []certificatesv1.CertificateSigningRequestCondition, path *field.Path) (errs field.ErrorList) {
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range conditions {
		at := path.Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		errs = append(errs, requiredOneOf(c.Status, at.Child("status"), verdictStatuses(c.Type)...)...)
		if seen[c.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), c.Type))
		}
		seen[c.Type] = true
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] {
		errs = append(errs, field.Invalid(path, "{Approved, Denied}", "Approved and Denied conditions are mutually exclusive"))
	}
	return errs
}

func verdictStatuses(t certificatesv1.RequestConditionType) []corev1.ConditionStatus {
	switch t {
	case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
		return []corev1.ConditionStatus{corev1.ConditionTrue}
	}
	return []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
}

// validateSigningRequestUpdate serves the main resource, of which only the metadata changes.
func validateSigningRequestUpdate(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return slices.Concat(validateSigningRequest(r), lostConditions(r, old), changedVerdict(r, old), changedCertificate(r, old))
}

// validateSigning serves the status subresource: the signer gives the certificate, once, or says why not.
func validateSigning(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := slices.Concat(validateSigningRequest(r), lostConditions(r, old), changedVerdict(r, old))
	path := field.NewPath("status", "certificate")
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		return errs
	}
	if err := checkCertificates(r.Status.Certificate); err != nil {
		errs = append(errs, field.Invalid(path, "<certificate data>", err.Error()))
	}
	if len(old.Status.Certificate) > 0 {
		errs = append(errs, field.Forbidden(path, "updates may not modify existing certificate content"))
	}
	return errs
}

// ValidateApprovalUpdate serves the approval subresource: it gives the verdict, once.
func ValidateApprovalUpdate(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return slices.Concat(validateSigningRequest(r), lostConditions(r, old), changedCertificate(r, old))
}

// lostConditions: what was once said of a request stays said.
func lostConditions(r, old *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	for _, t := range []certificatesv1.RequestConditionType{
		certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed,
	} {
		if len(conditionsOf(r, t)) < len(conditionsOf(old, t)) {
			errs = append(errs, field.Forbidden(field.NewPath("status", "conditions"), fmt.Sprintf("updates may not remove a condition of type %q", t)))
		}
	}
	return errs
}

// changedVerdict keeps everyone but approvers from approving and denying.
func changedVerdict(r, old *certificatesv1.CertificateSigningRequest) (errs field.ErrorList) {
	path := field.NewPath("status", "conditions")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		is, was := conditionsOf(r, t), conditionsOf(old, t)
		switch {
		case len(is) > len(was):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not add a condition of type %q", t)))
		case len(is) == len(was) && !equality.Semantic.DeepEqual(is, was):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not modify a condition of type %q", t)))
		}
	}
	return errs
}

// changedCertificate keeps everyone but signers from giving certificates.
func changedCertificate(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("status", "certificate"), "updates may not set certificate content")}
}

// checkCertificates wants PEM blocks of certificates only; the text between them is free.
func checkCertificates(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	blocks := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			return fmt.Errorf("only %s PEM blocks are allowed, found %q", pemCertificate, block.Type)
		}
		if len(block.Headers) > 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certificates, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certificates) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
