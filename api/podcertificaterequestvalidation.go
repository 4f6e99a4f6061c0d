package api

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// uidBytesMax bounds the identities that a request names.
const uidBytesMax = 128

func validatePodCertificateRequest(r *certificatesv1.PodCertificateRequest) field.ErrorList {
	s, spec := &r.Spec, field.NewPath("spec")
	errs := validateSignerName(s.SignerName, spec.Child("signerName"))
	for _, named := range []struct {
		field, name, uid string
		faultsOf         func(name string, prefix bool) []string
	}{
		{"pod", s.PodName, string(s.PodUID), validation.NameIsDNSSubdomain},
		{"serviceAccount", s.ServiceAccountName, string(s.ServiceAccountUID), validation.ValidateServiceAccountName},
		{"node", string(s.NodeName), string(s.NodeUID), validation.NameIsDNSSubdomain},
	} {
		errs = append(errs, faults(spec.Child(named.field+"Name"), named.name, named.faultsOf(named.name, false))...)
		errs = append(errs, validateUID(named.uid, spec.Child(named.field+"UID"))...)
	}
	errs = append(errs, validatePodCertificateSeconds(s, spec.Child("maxExpirationSeconds"))...)
	errs = append(errs, validateStubRequest(s.StubPKCS10Request, spec.Child("stubPKCS10Request"))...)
	return append(errs, validateUserAnnotations(s.UnverifiedUserAnnotations, spec.Child("unverifiedUserAnnotations"))...)
}

func validateUID(uid string, path *field.Path) field.ErrorList {
	if uid == "" {
		return field.ErrorList{field.Required(path, "must not be empty")}
	}
	if len(uid) > uidBytesMax {
		return field.ErrorList{field.TooLong(path, uid, uidBytesMax)}
	}
	return nil
}

// validatePodCertificateSeconds: Kubernetes' own signers sign for a day at most.
func validatePodCertificateSeconds(s *certificatesv1.PodCertificateRequestSpec, path *field.Path) field.ErrorList {
	if s.MaxExpirationSeconds == nil {
		return field.ErrorList{field.Required(path, "must be set")}
	}
	most := int32(podCertificateSecondsMax)
	if strings.HasPrefix(s.SignerName, kubernetesSigners) {
		most = podCertificateSecondsDefault
	}
	if n := *s.MaxExpirationSeconds; n < podCertificateSecondsMin || n > most {
		return field.ErrorList{field.Invalid(path, n, fmt.Sprintf("must be in the range [%d, %d]", podCertificateSecondsMin, most))}
	}
	return nil
}

// validateStubRequest wants a request that whoever holds the key signed; what else it says is for the signer to judge.
func validateStubRequest(der []byte, path *field.Path) field.ErrorList {
	if len(der) == 0 {
		return field.ErrorList{field.Required(path, "must be set")}
	}
	if len(der) > stubRequestBytesMax {
		return field.ErrorList{field.TooLong(path, omitted, stubRequestBytesMax)}
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return field.ErrorList{field.Invalid(path, omitted, "must be a valid DER-serialized PKCS#10 certificate signing request")}
	}
	if err := checkPodKey(request.PublicKey); err != nil {
		return field.ErrorList{field.Invalid(path, omitted, err.Error())}
	}
	if err := request.CheckSignature(); err != nil {
		return field.ErrorList{field.Invalid(path, omitted, "could not verify the signature by the subject's private key")}
	}
	return nil
}

// The keys that a pod may have (see podKeyTypes).
var (
	podCurves     = []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}
	podModuleBits = []int{3072, 4096}
)

func checkPodKey(key any) error {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if !slices.Contains(podCurves, k.Curve) {
			return errors.New("elliptic public keys must use curve P256, P384, or P521")
		}
		return nil
	case *rsa.PublicKey:
		if !slices.Contains(podModuleBits, k.N.BitLen()) {
			return errors.New("RSA keys must have modulus size 3072 or 4096")
		}
		return nil
	}
	return errors.New("supported public key types are Ed25519, ECDSA, RSA")
}

// podKey is the key for which a certificate is asked.
func podKey(s *certificatesv1.PodCertificateRequestSpec) (key interface{ Equal(crypto.PublicKey) bool }, err error) {
	request, err := x509.ParseCertificateRequest(s.StubPKCS10Request)
	if err != nil {
		return nil, err
	}
	key, ok := request.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot be compared", request.PublicKey)
	}
	return key, nil
}
