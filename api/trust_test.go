package api

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	trustBundles        = "clustertrustbundles.certificates.k8s.io"
	podCertificates     = "podcertificaterequests.certificates.k8s.io"
	storageMigrations   = "storageversionmigrations.storagemigration.k8s.io"
	goodTrustBundleMeta = "metadata: {name: 'example.com:a:b'}\nspec: {signerName: example.com/a}\n"
)

// signedBy makes a certificate of a key, signed by itself, as DER.
func signedBy(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func anchor(t *testing.T, serial int64) []byte {
	return pemOf(pemCertificate, signedBy(t, newKey(t), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(serial) }))
}

func trustBundle(t *testing.T, text string, blocks ...[]byte) *certificatesv1.ClusterTrustBundle {
	t.Helper()
	b := load(t, trustBundles, text).(*certificatesv1.ClusterTrustBundle)
	b.Spec.TrustBundle = string(bytes.Join(blocks, []byte("between\n")))
	return b
}

func TestTrustAnchors(t *testing.T) {
	k, key, one, two := kindNamed(t, trustBundles), newKey(t), anchor(t, 1), anchor(t, 2)
	one64, _ := pem.Decode(one)
	const path = "spec.trustBundle: Invalid value: \"<value omitted>\": "
	for name, c := range map[string]struct {
		blocks [][]byte
		want   []string
	}{
		"good":    {[][]byte{one, two}, nil},
		"none":    {nil, []string{path + "at least one trust anchor must be provided"}},
		"no PEM":  {[][]byte{[]byte("trust me")}, []string{path + "at least one trust anchor must be provided"}},
		"twice":   {[][]byte{one, two, one}, []string{path + "duplicate trust anchor (indices [0 2])"}},
		"not DER": {[][]byte{one, pemOf(pemCertificate, []byte("x")), one}, []string{path + "entry 1 does not parse as X.509"}},
		"headers": {[][]byte{pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Headers: map[string]string{"a": "b"}, Bytes: one64.Bytes})},
			[]string{path + "entry 0 has PEM block headers"}},
		"several": {[][]byte{pemOf("PRIVATE KEY", []byte("x")), one, pemOf(pemCertificate, signedBy(t, key, func(c *x509.Certificate) { c.IsCA = false }))},
			[]string{path + "entry 0 has bad block type: PRIVATE KEY", path + "entry 2 does not have the CA bit set"}},
		"no constraints": {[][]byte{pemOf(pemCertificate, signedBy(t, key, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false }))},
			[]string{path + "entry 0 does not have the CA bit set"}},
		"too long": {[][]byte{one, make([]byte, trustBundleBytesMax)}, []string{"spec.trustBundle: Too long: may not be more than 1048576 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := trustBundle(t, goodTrustBundleMeta, c.blocks...)
			sameFaults(t, k.Validate(b), c.want...)
			sameFaults(t, k.ValidateUpdate(b, trustBundle(t, goodTrustBundleMeta, two)), c.want...)
			sameFaults(t, k.ValidateUpdate(b, b)) // what is there may stay
		})
	}
}

func TestTrustBundleNames(t *testing.T) {
	k, one := kindNamed(t, trustBundles), anchor(t, 1)
	const without, with = `metadata.name: Invalid value: "%s": ClusterTrustBundle without signer name must not have ":" in its name`,
		`metadata.%s: Invalid value: "%s": ClusterTrustBundle for signerName example.com/a must be named with prefix example.com:a:`
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"without signer":      {"metadata: {name: a.b}", nil},
		"colon":               {"metadata: {name: 'a:b'}", []string{fmt.Sprintf(without, "a:b")}},
		"no name":             {"metadata: {name: A}", []string{`metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain`}},
		"generated":           {"metadata: {generateName: 'example.com:a:x-', name: 'example.com:a:x-1'}\nspec: {signerName: example.com/a}", nil},
		"signer, other name":  {"metadata: {name: a}\nspec: {signerName: example.com/a}", []string{fmt.Sprintf(with, "name", "a")}},
		"signer, bad name":    {"metadata: {name: 'example.com:a:b:c'}\nspec: {signerName: example.com/a}", []string{`metadata.name: Invalid value: "example.com:a:b:c": a lowercase RFC 1123`}},
		"signer, empty name":  {"metadata: {name: 'example.com:a:'}\nspec: {signerName: example.com/a}", []string{`metadata.name: Invalid value: "example.com:a:": a lowercase RFC 1123`}},
		"generated otherwise": {"metadata: {generateName: x, name: x1}\nspec: {signerName: example.com/a}", []string{fmt.Sprintf(with, "generateName", "x"), fmt.Sprintf(with, "name", "x1")}},
		"no signer's name":    {"metadata: {name: 'a:b'}\nspec: {signerName: a}", []string{`spec.signerName: Invalid value: "a": must be a fully qualified domain and path`}},
	} {
		t.Run(name, func(t *testing.T) { sameFaults(t, k.Validate(trustBundle(t, c.text, one)), c.want...) })
	}
	old, other := trustBundle(t, "metadata: {name: a}", one), trustBundle(t, "metadata: {name: a}\nspec: {signerName: example.com/a}", one)
	sameFaults(t, k.ValidateUpdate(other, old), fmt.Sprintf(with, "name", "a"), `spec.signerName: Invalid value: "example.com/a": field is immutable`)
	sameTable(t, trustBundles, "Name|SignerName", goodTrustBundleMeta, "example.com:a:b|example.com/a")
	sameTable(t, trustBundles, "Name|SignerName", "metadata: {name: a}", "a|<none>")
	if got := k.Fields(other)["spec.signerName"]; got != "example.com/a" {
		t.Errorf("spec.signerName: %q", got)
	}
}

// stubRequest is an empty request, signed by the key.
func stubRequest(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

const goodPodCertificate = `
metadata: {name: r, namespace: default, ` + born + `}
spec:
  signerName: example.com/a
  podName: p
  podUID: pu
  serviceAccountName: s
  serviceAccountUID: su
  nodeName: n1
  nodeUID: nu
  maxExpirationSeconds: 7200
  unverifiedUserAnnotations: {example.com/k: v}
  stubPKCS10Request: `

func TestPodCertificateRequestValidation(t *testing.T) {
	good := goodPodCertificate + base64Of(stubRequest(t, newKey(t)))
	runBad(t, podCertificates, good, []badObject{
		{"nothing but names", []string{"podName: p\n", "podName: P\n", "podUID: pu", "podUID: ''", "serviceAccountName: s\n", "serviceAccountName: S\n", "nodeName: n1\n", "nodeName: N1\n"}, []string{
			`spec.podName: Invalid value: "P": a lowercase RFC 1123 subdomain`, "spec.podUID: Required value: must not be empty",
			`spec.serviceAccountName: Invalid value: "S": a lowercase RFC 1123 subdomain`, `spec.nodeName: Invalid value: "N1": a lowercase RFC 1123 subdomain`}},
		{"no identities", []string{"serviceAccountUID: su", "serviceAccountUID: ''", "nodeUID: nu", "nodeUID: " + strings.Repeat("u", 129)}, []string{
			"spec.serviceAccountUID: Required value: must not be empty", "spec.nodeUID: Too long: may not be more than 128 bytes"}},
		{"signer", []string{"example.com/a", "a"}, []string{`spec.signerName: Invalid value: "a": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
		{"no signer", []string{"example.com/a", "''"}, []string{"spec.signerName: Required value"}},
		{"too short", []string{"7200", "3599"}, []string{"spec.maxExpirationSeconds: Invalid value: 3599: must be in the range [3600, 7862400]"}},
		{"too long", []string{"7200", "7862401"}, []string{"spec.maxExpirationSeconds: Invalid value: 7862401: must be in the range [3600, 7862400]"}},
		{"too long for Kubernetes", []string{"7200", "86401", "example.com/a", "kubernetes.io/a"}, []string{"spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"}},
		{"what the signer is told", []string{"example.com/k: v", "k: v"}, []string{"spec.unverifiedUserAnnotations[k]: Invalid value: \"k\""}},
	})
	runUpdates(t, podCertificates, good, []badObject{
		{"labels", []string{"name: r,", "name: r, labels: {a: b},"}, nil},
		{"spec", []string{"podName: p\n", "podName: q\n"}, []string{"spec: Invalid value"}},
	})
	r := load(t, podCertificates, edit(t, good, "  maxExpirationSeconds: 7200\n", "")).(*certificatesv1.PodCertificateRequest)
	if n := *r.Spec.MaxExpirationSeconds; n != 86400 {
		t.Errorf("the default: %d", n)
	}
	const head = "Name|PodName|ServiceAccountName|NodeName|SignerName|State"
	sameTable(t, podCertificates, head, good, "r|p|s|n1|example.com/a|Pending")
	sameTable(t, podCertificates, head, good+"\nstatus: {conditions: [{type: Own, status: 'True'}, {type: Denied, status: 'True'}]}", "r|p|s|n1|example.com/a|Denied")
	set := kindNamed(t, podCertificates).Fields(r)
	if set["spec.signerName"] != "example.com/a" || set["spec.podName"] != "p" || set["spec.nodeName"] != "n1" {
		t.Errorf("fields: %v", set)
	}
}

func TestStubRequests(t *testing.T) {
	k := kindNamed(t, podCertificates)
	curve := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	module := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	forged := stubRequest(t, newKey(t))
	forged[len(forged)-1] ^= 1
	const path = `spec.stubPKCS10Request: Invalid value: "<value omitted>": `
	for name, c := range map[string]struct {
		der  []byte
		want string
	}{
		"P256":     {stubRequest(t, curve(elliptic.P256())), ""},
		"P521":     {stubRequest(t, curve(elliptic.P521())), ""},
		"RSA 3072": {stubRequest(t, module(3072)), ""},
		"P224":     {stubRequest(t, curve(elliptic.P224())), path + "elliptic public keys must use curve P256, P384, or P521"},
		"RSA 2048": {stubRequest(t, module(2048)), path + "RSA keys must have modulus size 3072 or 4096"},
		"none":     {nil, "spec.stubPKCS10Request: Required value: must be set"},
		"not DER":  {[]byte("x"), path + "must be a valid DER-serialized PKCS#10 certificate signing request"},
		"PEM":      {pemOf(pemRequest, stubRequest(t, newKey(t))), path + "must be a valid DER-serialized PKCS#10"},
		"forged":   {forged, path + "could not verify the signature by the subject's private key"},
		"too long": {make([]byte, stubRequestBytesMax+1), "spec.stubPKCS10Request: Too long: may not be more than 10240 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			r := load(t, podCertificates, goodPodCertificate+"''").(*certificatesv1.PodCertificateRequest)
			r.Spec.StubPKCS10Request = c.der
			if c.want == "" {
				sameFaults(t, k.Validate(r))
			} else {
				sameFaults(t, k.Validate(r), c.want)
			}
		})
	}
}

// answered gives a request a condition.
func answered(r *certificatesv1.PodCertificateRequest, conditions ...string) *certificatesv1.PodCertificateRequest {
	r = r.DeepCopy()
	for _, c := range conditions {
		r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.Unix(1, 0)})
	}
	return r
}

func TestPodCertificateAnswers(t *testing.T) {
	k, key, now := kindNamed(t, podCertificates), newKey(t), time.Now().Truncate(time.Second).UTC()
	old := load(t, podCertificates, goodPodCertificate+base64Of(stubRequest(t, key))).(*certificatesv1.PodCertificateRequest)
	leaf := func(key crypto.Signer, begin, end time.Time) string {
		return string(pemOf(pemCertificate, signedBy(t, key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = begin, end })))
	}
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }
	issued := answered(old, "Issued")
	s := &issued.Status
	s.CertificateChain, s.NotBefore, s.NotAfter, s.BeginRefreshAt = leaf(key, now, now.Add(2*time.Hour))+string(anchor(t, 2)), at(0), at(2*time.Hour), at(time.Hour)
	const chain, status = "status.certificateChain: Invalid value", "status: Invalid value"
	type request = certificatesv1.PodCertificateRequest
	for name, c := range map[string]struct {
		change func(r *request)
		want   []string
	}{
		"issued":        {func(*request) {}, nil},
		"no times":      {func(r *request) { r.Status.NotBefore, r.Status.NotAfter, r.Status.BeginRefreshAt = nil, nil, nil }, []string{"status.notBefore: Required value", "status.notAfter: Required value", "status.beginRefreshAt: Required value"}},
		"no chain":      {func(r *request) { r.Status.CertificateChain = "" }, []string{chain + `: "": issued certificate chain must contain at least one certificate`}},
		"other blocks":  {func(r *request) { r.Status.CertificateChain += string(pemOf("X", nil)) }, []string{chain}},
		"broken leaf":   {func(r *request) { r.Status.CertificateChain = string(pemOf(pemCertificate, []byte("x"))) }, []string{chain}},
		"broken issuer": {func(r *request) { r.Status.CertificateChain += string(pemOf(pemCertificate, []byte("x"))) }, []string{chain}},
		"long chain":    {func(r *request) { r.Status.CertificateChain += strings.Repeat(" ", certificateChainBytesMax) }, []string{"status.certificateChain: Too long: may not be more than 102400 bytes"}},
		"other key":     {func(r *request) { r.Status.CertificateChain = leaf(newKey(t), now, now.Add(2*time.Hour)) }, []string{chain}},
		"other times": {func(r *request) { r.Status.NotBefore, r.Status.NotAfter = at(time.Second), at(2*time.Hour-time.Second) },
			[]string{"status.notBefore: Invalid value", "status.notAfter: Invalid value"}},
		"old": {func(r *request) {
			r.Status.CertificateChain, r.Status.NotBefore = leaf(key, now.Add(-time.Hour), now.Add(time.Hour)), at(-time.Hour)
			r.Status.NotAfter, r.Status.BeginRefreshAt = at(time.Hour), at(0)
		}, []string{"status.notBefore: Invalid value"}},
		"short": {func(r *request) {
			r.Status.CertificateChain, r.Status.NotAfter, r.Status.BeginRefreshAt = leaf(key, now, now.Add(time.Hour-time.Second)), at(time.Hour-time.Second), at(time.Minute*20)
		}, []string{"status.notAfter: Invalid value"}},
		"long": {func(r *request) {
			r.Status.CertificateChain, r.Status.NotAfter = leaf(key, now, now.Add(3*time.Hour)), at(3*time.Hour)
		}, []string{"status.notAfter: Invalid value"}},
		"refreshed at once":   {func(r *request) { r.Status.BeginRefreshAt = at(time.Minute) }, []string{"status.beginRefreshAt: Invalid value"}},
		"refreshed at last":   {func(r *request) { r.Status.BeginRefreshAt = at(2 * time.Hour) }, []string{"status.beginRefreshAt: Invalid value"}},
		"two answers":         {func(r *request) { *r = *answered(r, "Denied") }, []string{`status.conditions[1].type: Invalid value: "Denied": There may be at most one condition with type "Issued", "Denied", or "Failed"`}},
		"an answer not given": {func(r *request) { r.Status.Conditions[0].Status = metav1.ConditionFalse }, []string{`status.conditions[0].status: Unsupported value: "False": supported values: "True"`}},
		"no reason":           {func(r *request) { r.Status.Conditions[0].Reason = "" }, []string{"status.conditions[0].reason: Required value"}},
		"denied and issued":   {func(r *request) { r.Status.Conditions[0].Type = "Denied" }, []string{status}},
		"issued unsaid":       {func(r *request) { r.Status.Conditions = nil }, []string{status}},
		"failed":              {func(r *request) { *r = *answered(old, "Failed") }, nil},
		"own condition":       {func(r *request) { *r = *answered(old, "Own") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := issued.DeepCopy()
			c.change(r)
			sameFaults(t, validatePodCertificateAnswer(r, old, now), c.want...)
		})
	}
	sameFaults(t, k.ValidateStatusUpdate(issued, answered(old, "Own")))
	sameFaults(t, k.ValidateStatusUpdate(issued, issued))
	sameFaults(t, k.ValidateStatusUpdate(old, issued), status)
	sameFaults(t, k.ValidateStatusUpdate(answered(old, "Denied"), answered(old, "Failed")), status)
}

func TestStorageVersionMigration(t *testing.T) {
	const good = "metadata: {name: m, " + born + "}\nspec: {resource: {group: apps, resource: deployments}}\n"
	runBad(t, storageMigrations, good, []badObject{
		{"no resource", []string{", resource: deployments", ""}, []string{"spec.resource.resource: Required value: resource is required"}},
		{"names", []string{"apps", "Apps", "deployments", "deployments/status"}, []string{`spec.resource.group: Invalid value: "Apps"`, `spec.resource.resource: Invalid value: "deployments/status"`}},
	})
	runUpdates(t, storageMigrations, good, []badObject{
		{"core group", []string{"group: apps, ", ""}, []string{"spec.resource: Invalid value"}},
	})
	k := kindNamed(t, storageMigrations)
	status := func(version string, conditions ...string) string {
		text := good + "status: {resourceVersion: '" + version + "', conditions: ["
		for _, c := range conditions {
			text += "{type: " + c + ", status: 'True', reason: R, lastTransitionTime: '2026-01-01T12:00:00Z'},"
		}
		return text + "]}"
	}
	const path = "status.conditions: Invalid value"
	for name, c := range map[string]struct {
		old, now string
		want     []string
	}{
		"begun":           {good, status("5", "Running"), nil},
		"ended":           {status("5", "Running"), status("5", "Succeeded"), nil},
		"version":         {status("5"), status("6"), []string{`status.resourceVersion: Invalid value: "6": resourceVersion cannot be updated`}},
		"all at once":     {status(""), status("", "Running", "Succeeded", "Failed"), []string{path, path, path}},
		"back to work":    {status("", "Succeeded"), status("", "Running"), []string{path}},
		"failed no more":  {status("", "Failed"), status(""), []string{path}},
		"condition twice": {status(""), status("", "Running", "Running"), []string{"status.conditions[1]: Duplicate value: \"Running\""}},
	} {
		t.Run(name, func(t *testing.T) {
			sameFaults(t, k.ValidateStatusUpdate(load(t, storageMigrations, c.now), load(t, storageMigrations, c.old)), c.want...)
		})
	}
	sameTable(t, storageMigrations, "Name|Created At", good, "m|2026-01-01T12:00:00Z")
}
