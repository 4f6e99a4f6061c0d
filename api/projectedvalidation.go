package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds on the life of a token and of a certificate in a projected volume.
const (
	tokenSecondsMin                    = 600
	tokenSecondsMax                    = 1 << 32
	podCertificateSecondsDefault int32 = 24 * 60 * 60
	podCertificateSecondsMin           = 60 * 60
	podCertificateSecondsMax           = 91 * 24 * 60 * 60
)

func validateProjected(v *corev1.ProjectedVolumeSource, path *field.Path) field.ErrorList {
	errs := validateMode(v.DefaultMode, path.Child("defaultMode"))
	taken := sets.New[string]()
	for i := range v.Sources {
		s, at := &v.Sources[i], path.Child("sources").Index(i)
		if n := len(setFields(s)); n == 0 {
			errs = append(errs, field.Required(at, "must specify a volume type"))
		} else if n > 1 {
			errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
		}
		errs = append(errs, validateProjection(s, at)...)
		for _, p := range projectedPaths(s) {
			if p != "" && taken.Has(p) {
				errs = append(errs, field.Invalid(path, p, "conflicting duplicate paths"))
			}
			taken.Insert(p)
		}
	}
	return errs
}

func validateProjection(s *corev1.VolumeProjection, at *field.Path) (errs field.ErrorList) {
	if s.Secret != nil {
		errs = append(errs, required(s.Secret.Name, at.Child("secret", "name"))...)
		errs = append(errs, validateItems(s.Secret.Items, at.Child("secret", "items"))...)
	}
	if s.ConfigMap != nil {
		errs = append(errs, required(s.ConfigMap.Name, at.Child("configMap", "name"))...)
		errs = append(errs, validateItems(s.ConfigMap.Items, at.Child("configMap", "items"))...)
	}
	if s.DownwardAPI != nil {
		errs = append(errs, validateDownward(s.DownwardAPI.Items, at.Child("downwardAPI"))...)
	}
	if s.ServiceAccountToken != nil {
		errs = append(errs, validateToken(s.ServiceAccountToken, at.Child("serviceAccountToken"))...)
	}
	if s.ClusterTrustBundle != nil {
		errs = append(errs, validateTrust(s.ClusterTrustBundle, at.Child("clusterTrustBundle"))...)
	}
	if s.PodCertificate != nil {
		errs = append(errs, validatePodCertificate(s.PodCertificate, at.Child("podCertificate"))...)
	}
	return errs
}

func validateToken(t *corev1.ServiceAccountTokenProjection, path *field.Path) field.ErrorList {
	errs := validateTokenSeconds(valueOf(t.ExpirationSeconds), path.Child("expirationSeconds"))
	return append(errs, validateFilePath(t.Path, path.Child("path"))...)
}

func validateTokenSeconds(seconds int64, path *field.Path) field.ErrorList {
	switch {
	case seconds < tokenSecondsMin:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > tokenSecondsMax:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

// validateTrust: bundles are chosen by name, or by signer and labels.
func validateTrust(t *corev1.ClusterTrustBundleProjection, path *field.Path) (errs field.ErrorList) {
	switch {
	case t.Name != nil && t.SignerName != nil:
		errs = append(errs, field.Invalid(path, t, "only one of name and signerName may be used"))
	case t.Name != nil:
		if *t.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), "must be a valid object name"))
		} else {
			errs = append(errs, faults(path.Child("name"), *t.Name, trustBundleNameFaults(*t.Name))...)
		}
		if t.LabelSelector != nil {
			errs = append(errs, field.Invalid(path.Child("labelSelector"), t.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case t.SignerName != nil:
		if *t.SignerName == "" {
			errs = append(errs, field.Required(path.Child("signerName"), "must be a valid signer name"))
		} else {
			errs = append(errs, validateSignerName(*t.SignerName, path.Child("signerName"))...)
		}
		errs = append(errs, validateSelector(t.LabelSelector, path.Child("labelSelector"))...)
	default:
		errs = append(errs, field.Required(path, "either name or signerName must be specified"))
	}
	return append(errs, validateFilePath(t.Path, path.Child("path"))...)
}

// trustBundleNameFaults: a bundle of a signer has the signer's name before its own, with colons between.
func trustBundleNameFaults(name string) []string {
	return validation.NameIsDNSSubdomain(name[strings.LastIndex(name, ":")+1:], false)
}

// kubernetesSigners begins the names of Kubernetes' own signers, which sign for a day at most.
const kubernetesSigners = "kubernetes.io/"

var podKeyTypes = []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}

func validatePodCertificate(c *corev1.PodCertificateProjection, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateSignerName(c.SignerName, path.Child("signerName"))...)
	errs = append(errs, requiredInOrder(c.KeyType, path.Child("keyType"), podKeyTypes...)...)
	if n, at := c.MaxExpirationSeconds, path.Child("maxExpirationSeconds"); n != nil {
		most := int32(podCertificateSecondsMax)
		if strings.HasPrefix(c.SignerName, kubernetesSigners) {
			most = podCertificateSecondsDefault
		}
		switch {
		case *n < podCertificateSecondsMin:
			errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("if provided, maxExpirationSeconds must be >= %d", podCertificateSecondsMin)))
		case *n > most:
			errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most)))
		}
	}
	files := 0
	file := func(p, name string) {
		if p != "" {
			files++
			errs = append(errs, validateFilePath(p, path.Child(name))...)
		}
	}
	file(c.CredentialBundlePath, "credentialBundlePath")
	file(c.KeyPath, "keyPath")
	file(c.CertificateChainPath, "certificateChainPath")
	if files == 0 {
		errs = append(errs, field.Required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	return append(errs, validateUserAnnotations(c.UserAnnotations, path.Child("userAnnotations"))...)
}

// validateUserAnnotations: what is told to a signer is told under names of its domain.
func validateUserAnnotations(annotations map[string]string, path *field.Path) field.ErrorList {
	errs := validation.ValidateAnnotations(annotations, path)
	for _, key := range sortedKeys(annotations) {
		errs = append(errs, utilvalidation.IsDomainPrefixedKey(path.Key(key), key)...)
	}
	return errs
}

// projectedPaths lists the files that a source makes.
func projectedPaths(s *corev1.VolumeProjection) (paths []string) {
	if s.Secret != nil {
		paths = append(paths, itemPaths(s.Secret.Items)...)
	}
	if s.ConfigMap != nil {
		paths = append(paths, itemPaths(s.ConfigMap.Items)...)
	}
	if s.DownwardAPI != nil {
		for _, file := range s.DownwardAPI.Items {
			paths = append(paths, file.Path)
		}
	}
	if s.ServiceAccountToken != nil {
		paths = append(paths, s.ServiceAccountToken.Path)
	}
	if s.ClusterTrustBundle != nil {
		paths = append(paths, s.ClusterTrustBundle.Path)
	}
	if c := s.PodCertificate; c != nil {
		paths = append(paths, c.CredentialBundlePath, c.KeyPath, c.CertificateChainPath)
	}
	return paths
}

func itemPaths(items []corev1.KeyToPath) (paths []string) {
	for _, item := range items {
		paths = append(paths, item.Path)
	}
	return paths
}
