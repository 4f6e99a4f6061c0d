package api

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
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
		Name:         "ClusterTrustBundle", Resource: "clustertrustbundles", Singular: "clustertrustbundle",
		ClusterScoped:     true,
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &certificatesv1.ClusterTrustBundle{} },
		NewList:           func() runtime.Object { return &certificatesv1.ClusterTrustBundleList{} },
		Validate:          check(validateTrustBundle),
		ValidateUpdate:    checkOld(validateTrustBundleUpdate),
		// What a bundle may be called depends on its signer: see validateTrustBundleNames.
		ValidateName: func(string, bool) []string { return nil },
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("SignerName", "Whose certificates the trust anchors vouch for."),
		},
		Row: row(func(b *certificatesv1.ClusterTrustBundle, _ time.Time) []any {
			return []any{b.Name, orNone(b.Spec.SignerName)}
		}),
		FieldLabels: []string{"spec.signerName"},
		Fields: selectable(func(b *certificatesv1.ClusterTrustBundle) fields.Set {
			return fields.Set{"spec.signerName": b.Spec.SignerName}
		}),
	})
}

func validateTrustBundle(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	return append(validateTrustBundleNames(b), validateAnchors(b.Spec.TrustBundle, field.NewPath("spec", "trustBundle"))...)
}

// validateTrustBundleUpdate does not read again the anchors that stay as they are: what another version of the parser thinks of
// them must not keep anybody from changing the rest.
func validateTrustBundleUpdate(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
	spec, errs := field.NewPath("spec"), validateTrustBundleNames(b)
	if b.Spec.TrustBundle != old.Spec.TrustBundle {
		errs = append(errs, validateAnchors(b.Spec.TrustBundle, spec.Child("trustBundle"))...)
	}
	return append(errs, validation.ValidateImmutableField(b.Spec.SignerName, old.Spec.SignerName, spec.Child("signerName"))...)
}

// validateTrustBundleNames checks the signer's name and the object's, of which the first is the beginning.
func validateTrustBundleNames(b *certificatesv1.ClusterTrustBundle) (errs field.ErrorList) {
	signer, meta := b.Spec.SignerName, field.NewPath("metadata")
	if b.GenerateName != "" {
		errs = append(errs, faults(meta.Child("generateName"), b.GenerateName, trustBundleFaults(signer, b.GenerateName, true))...)
	}
	if b.Name != "" { // that there is one is checked for every kind
		errs = append(errs, faults(meta.Child("name"), b.Name, trustBundleFaults(signer, b.Name, false))...)
	}
	if signer != "" {
		errs = append(errs, validateSignerName(signer, field.NewPath("spec", "signerName"))...)
	}
	return errs
}

// trustBundleFaults: a signer's bundle is called SIGNER:NAME, with a colon for the slash in SIGNER, and no other name has colons.
func trustBundleFaults(signer, name string, prefix bool) []string {
	if signer == "" {
		if strings.Contains(name, ":") {
			return []string{`ClusterTrustBundle without signer name must not have ":" in its name`}
		}
		return validation.NameIsDNSSubdomain(name, prefix)
	}
	begin := strings.ReplaceAll(signer, "/", ":") + ":"
	own, ok := strings.CutPrefix(name, begin)
	if !ok {
		return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, begin)}
	}
	return validation.NameIsDNSSubdomain(own, prefix)
}

// omitted stands for a value that is too long to be repeated in an error.
const omitted = "<value omitted>"

// validateAnchors wants certificates of authorities, each once, as PEM. Faults of single blocks hide those of the whole.
func validateAnchors(text string, path *field.Path) (errs field.ErrorList) {
	if len(text) > trustBundleBytesMax {
		return field.ErrorList{field.TooLong(path, omitted, trustBundleBytesMax)}
	}
	places := map[string][]int{} // of each certificate
	var order []string
	n := 0
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		der := string(block.Bytes)
		if err := checkAnchor(block); err != nil {
			errs = append(errs, field.Invalid(path, omitted, fmt.Sprintf("entry %d %v", n, err)))
		} else if places[der] = append(places[der], n); len(places[der]) == 1 {
			order = append(order, der)
		}
		n++
	}
	if len(errs) > 0 {
		return errs
	}
	if n == 0 {
		return field.ErrorList{field.Invalid(path, omitted, "at least one trust anchor must be provided")}
	}
	for _, der := range order {
		if at := places[der]; len(at) > 1 {
			errs = append(errs, field.Invalid(path, omitted, fmt.Sprintf("duplicate trust anchor (indices %v)", at)))
		}
	}
	return errs
}

// checkAnchor says what is wrong with a block; the words follow "entry N".
func checkAnchor(block *pem.Block) error {
	if block.Type != pemCertificate {
		return fmt.Errorf("has bad block type: %v", block.Type)
	}
	if len(block.Headers) > 0 {
		return errors.New("has PEM block headers")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return errors.New("does not parse as X.509")
	case !c.IsCA:
		return errors.New("does not have the CA bit set")
	case !c.BasicConstraintsValid:
		return errors.New("has invalid basic constraints")
	}
	return nil
}
