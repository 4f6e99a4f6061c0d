package api

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds on the times of a pod's certificate.
const (
	// podCertificateSkew is how far from now it may begin.
	podCertificateSkew = 5 * time.Minute
	// podCertificateRest is how far from its beginning and its end it may be renewed.
	podCertificateRest = 10 * time.Minute
)

// validatePodCertificateAnswer serves the status subresource: the signer gives the certificate or says why not, once and for all.
// What the conditions say decides what the rest is checked for, so their faults hide those of the rest.
func validatePodCertificateAnswer(r, old *certificatesv1.PodCertificateRequest, now time.Time) field.ErrorList {
	s, status := &r.Status, field.NewPath("status")
	if errs := validateAnswerConditions(s.Conditions, status.Child("conditions")); len(errs) > 0 {
		return errs
	}
	if podCertificateAnswer(&old.Status) != "" {
		return validation.ValidateImmutableField(*s, old.Status, status)
	}
	if podCertificateAnswer(s) != certificatesv1.PodCertificateRequestConditionTypeIssued {
		only := certificatesv1.PodCertificateRequestStatus{Conditions: s.Conditions}
		return validation.ValidateImmutableField(*s, only, status)
	}
	path := status.Child("certificateChain")
	if len(s.CertificateChain) > certificateChainBytesMax {
		return field.ErrorList{field.TooLong(path, s.CertificateChain, certificateChainBytesMax)}
	}
	leaf, err := checkIssued(&old.Spec, s.CertificateChain)
	if err != nil {
		return field.ErrorList{field.Invalid(path, s.CertificateChain, err.Error())}
	}
	return validateAnswerTimes(s, leaf, time.Duration(valueOf(old.Spec.MaxExpirationSeconds))*time.Second, now)
}

func validateAnswerConditions(conditions []metav1.Condition, path *field.Path) (errs field.ErrorList) {
	answers := 0
	for i, c := range conditions {
		if !slices.Contains(podCertificateAnswers, c.Type) {
			continue
		}
		if answers++; answers > 1 {
			errs = append(errs, field.Invalid(path.Index(i).Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`))
		}
		if c.Status != metav1.ConditionTrue {
			errs = append(errs, field.NotSupported(path.Index(i).Child("status"), c.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
		}
	}
	return append(errs, metavalidation.ValidateConditions(conditions, path)...)
}

// checkIssued reads a chain, of which the first certificate must be for the key in the request.
func checkIssued(spec *certificatesv1.PodCertificateRequestSpec, chain string) (leaf *x509.Certificate, err error) {
	for block, rest := pem.Decode([]byte(chain)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			return nil, errors.New("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err == nil && leaf == nil:
			leaf = c
		case err == nil:
		case leaf == nil:
			return nil, errors.New("leaf certificate does not parse as valid X.509")
		default:
			return nil, errors.New("intermediate certificate does not parse as valid X.509")
		}
	}
	if leaf == nil {
		return nil, errors.New("issued certificate chain must contain at least one certificate")
	}
	if key, err := podKey(spec); err != nil || !key.Equal(leaf.PublicKey) {
		return nil, errors.New("leaf certificate was not issued to the requested public key")
	}
	return leaf, nil
}

// validateAnswerTimes: the times are those of the certificate, and leave time to renew it.
func validateAnswerTimes(s *certificatesv1.PodCertificateRequestStatus, leaf *x509.Certificate, longest time.Duration, now time.Time) (errs field.ErrorList) {
	status := field.NewPath("status")
	begin, end, refresh := status.Child("notBefore"), status.Child("notAfter"), status.Child("beginRefreshAt")
	for _, t := range []struct {
		value *metav1.Time
		path  *field.Path
	}{{s.NotBefore, begin}, {s.NotAfter, end}, {s.BeginRefreshAt, refresh}} {
		if t.value == nil {
			errs = append(errs, field.Required(t.path, "must be present and consistent with the issued certificate"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	refuse := func(bad bool, path *field.Path, t *metav1.Time, words string) {
		if bad {
			errs = append(errs, field.Invalid(path, t.Time, words))
		}
	}
	refuse(!s.NotBefore.Time.Equal(leaf.NotBefore), begin, s.NotBefore, "must be set to the NotBefore time encoded in the leaf certificate")
	refuse(s.NotBefore.Sub(now).Abs() > podCertificateSkew, begin, s.NotBefore, "must be set to within 5 minutes of kube-apiserver's current time")
	refuse(!s.NotAfter.Time.Equal(leaf.NotAfter), end, s.NotAfter, "must be set to the NotAfter time encoded in the leaf certificate")
	life := s.NotAfter.Sub(s.NotBefore.Time)
	refuse(life < podCertificateSecondsMin*time.Second, end, s.NotAfter, "leaf certificate lifetime must be >= 1 hour")
	refuse(life > longest, end, s.NotAfter, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", longest))
	refuse(s.BeginRefreshAt.Sub(s.NotBefore.Time) < podCertificateRest, refresh, s.BeginRefreshAt, "must be at least 10 minutes after status.notBefore")
	refuse(s.NotAfter.Sub(s.BeginRefreshAt.Time) < podCertificateRest, refresh, s.BeginRefreshAt, "must be at least 10 minutes before status.notAfter")
	return errs
}
