package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

const signingRequests = "certificatesigningrequests.certificates.k8s.io"

// keyPair makes a request and a certificate of one key, as DER.
func keyPair(t *testing.T) (request, certificate []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject := pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}
	request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotAfter: time.Now().Add(time.Hour)}
	certificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return request, certificate
}

func pemOf(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// goodSigningRequest is a request as a client writes it.
func goodSigningRequest(t *testing.T) string {
	request, _ := keyPair(t)
	return `
metadata: {name: "node:1"}
spec:
  request: ` + base64Of(pemOf(pemRequest, request)) + `
  signerName: kubernetes.io/kube-apiserver-client
  usages: [digital signature, key encipherment, client auth]
  expirationSeconds: 600
`
}

func TestSigningRequestValidation(t *testing.T) {
	request, certificate := keyPair(t)
	forged := append([]byte(nil), request...)
	forged[len(forged)-1] ^= 1
	good := goodSigningRequest(t)
	line := func(key, value string) []string {
		rest := good[strings.Index(good, "  "+key):]
		return []string{rest[:strings.Index(rest, "\n")], "  " + key + ": " + value}
	}
	runBad(t, signingRequests, good, []badObject{
		{"no request", line("request", "''"), []string{`spec.request: Invalid value: "": PEM block type must be CERTIFICATE REQUEST`}},
		{"not a request", line("request", base64Of(pemOf(pemCertificate, certificate))), []string{"spec.request: Invalid value"}},
		{"not DER", line("request", base64Of(pemOf(pemRequest, []byte("x")))), []string{"spec.request: Invalid value"}},
		{"forged", line("request", base64Of(pemOf(pemRequest, forged))), []string{"spec.request: Invalid value"}},
		{"no usages", line("usages", "[]"), []string{"spec.usages: Required value"}},
		{"usage", line("usages", "[client auth, world domination]"), []string{`spec.usages[1]: Unsupported value: "world domination": supported values: "any", "cert sign", "client auth"`}},
		{"usage twice", line("usages", "[client auth, client auth]"), []string{`spec.usages[1]: Duplicate value: "client auth"`}},
		{"too short", line("expirationSeconds", "599"), []string{"spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"}},
		{"no signer", line("signerName", "''"), []string{"spec.signerName: Required value"}},
		{"legacy signer", line("signerName", legacySigner), []string{`spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version`}},
		{"signer without path", line("signerName", "example.com"), []string{`spec.signerName: Invalid value: "example.com": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
		{"signer with two paths", line("signerName", "example.com/a/b"), []string{`spec.signerName: Invalid value: "example.com/a/b": must be a fully qualified domain and path`}},
		{"signer of a label", line("signerName", "example/a"), []string{`spec.signerName: Invalid value: "example": should be a domain with at least two segments separated by dots`}},
		{"signer's domain", line("signerName", "example.Com/a"), []string{`spec.signerName: Invalid value: "example.Com": validating label "Com": a lowercase RFC 1123 label`}},
		{"signer's path", line("signerName", "example.com/a.B"), []string{`spec.signerName: Invalid value: "a.B": validating label "B": a lowercase RFC 1123 subdomain`}},
		{"signer's long domain", line("signerName", strings.Repeat("abcdefghi.", 26)+"com/a"), []string{"spec.signerName: Too long: may not be more than 253 bytes"}},
		{"signer's long path", line("signerName", "example.com/"+strings.Repeat("abcdefghi.", 32)+"a"), []string{"spec.signerName: Too long: may not be more than 317 bytes"}},
	})
	if msgs := kindNamed(t, signingRequests).ValidateName("Any Name", false); len(msgs) > 0 {
		t.Errorf("name: %q", msgs)
	}
}

// withConditions gives the good request a status.
func withConditions(t *testing.T, good string, c ...certificatesv1.CertificateSigningRequestCondition) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	r := load(t, signingRequests, good).(*certificatesv1.CertificateSigningRequest)
	r.Status.Conditions = c
	return r
}

func condition(t certificatesv1.RequestConditionType, s corev1.ConditionStatus) certificatesv1.CertificateSigningRequestCondition {
	return certificatesv1.CertificateSigningRequestCondition{Type: t, Status: s}
}

var (
	approved = condition(certificatesv1.CertificateApproved, corev1.ConditionTrue)
	denied   = condition(certificatesv1.CertificateDenied, corev1.ConditionTrue)
	failed   = condition(certificatesv1.CertificateFailed, corev1.ConditionTrue)
)

func TestSigningRequestConditions(t *testing.T) {
	good, path := goodSigningRequest(t), "status.conditions"
	old := withConditions(t, good)
	for name, c := range map[string]struct {
		conditions []certificatesv1.CertificateSigningRequestCondition
		want       []string
	}{
		"approved":         {[]certificatesv1.CertificateSigningRequestCondition{approved}, nil},
		"of one's own":     {[]certificatesv1.CertificateSigningRequestCondition{condition("Own", corev1.ConditionUnknown), approved}, nil},
		"both":             {[]certificatesv1.CertificateSigningRequestCondition{approved, denied}, []string{path + `: Invalid value: "{Approved, Denied}": Approved and Denied conditions are mutually exclusive`}},
		"no type":          {[]certificatesv1.CertificateSigningRequestCondition{condition("", corev1.ConditionTrue)}, []string{path + "[0].type: Required value"}},
		"no status":        {[]certificatesv1.CertificateSigningRequestCondition{condition("Own", "")}, []string{path + "[0].status: Required value"}},
		"status":           {[]certificatesv1.CertificateSigningRequestCondition{condition("Own", "Maybe")}, []string{path + `[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"`}},
		"twice":            {[]certificatesv1.CertificateSigningRequestCondition{approved, approved}, []string{path + `[1].type: Duplicate value: "Approved"`}},
		"half approved":    {[]certificatesv1.CertificateSigningRequestCondition{condition("Approved", corev1.ConditionUnknown)}, []string{path + `[0].status: Unsupported value: "Unknown": supported values: "True"`}},
		"half denied":      {[]certificatesv1.CertificateSigningRequestCondition{condition("Denied", corev1.ConditionFalse)}, []string{path + `[0].status: Unsupported value: "False": supported values: "True"`}},
		"failed not quite": {[]certificatesv1.CertificateSigningRequestCondition{condition("Failed", corev1.ConditionFalse)}, []string{path + `[0].status: Unsupported value: "False": supported values: "True"`}},
	} {
		t.Run(name, func(t *testing.T) {
			sameFaults(t, ValidateApprovalUpdate(withConditions(t, good, c.conditions...), old), c.want...)
		})
	}
}

// TestSigningRequestPaths: who may change what is decided by the path of the update.
func TestSigningRequestPaths(t *testing.T) {
	k, good := kindNamed(t, signingRequests), goodSigningRequest(t)
	_, der := keyPair(t)
	pending, yes, no := withConditions(t, good), withConditions(t, good, approved), withConditions(t, good, denied)
	issued := yes.DeepCopy()
	issued.Status.Certificate = pemOf(pemCertificate, der)
	another := issued.DeepCopy()
	another.Status.Certificate = append([]byte("explained\n"), another.Status.Certificate...)
	reasoned := yes.DeepCopy()
	reasoned.Status.Conditions[0].Reason = "Because"
	const (
		conditions  = "status.conditions: Forbidden: updates may not "
		certificate = "status.certificate: Forbidden: updates may not "
	)
	for _, c := range []struct {
		name                   string
		obj, old               *certificatesv1.CertificateSigningRequest
		main, status, approval []string
	}{
		{"nothing", yes, yes, nil, nil, nil},
		{"approved", yes, pending, []string{conditions + `add a condition of type "Approved"`}, []string{conditions + `add a condition of type "Approved"`}, nil},
		{"denied", no, pending, []string{conditions + `add a condition of type "Denied"`}, []string{conditions + `add a condition of type "Denied"`}, nil},
		{"reasoned", reasoned, yes, []string{conditions + `modify a condition of type "Approved"`}, []string{conditions + `modify a condition of type "Approved"`}, nil},
		{"forgotten", pending, yes, []string{conditions + `remove a condition of type "Approved"`}, []string{conditions + `remove a condition of type "Approved"`}, []string{conditions + `remove a condition of type "Approved"`}},
		{"turned", no, yes,
			[]string{conditions + `remove a condition of type "Approved"`, conditions + `add a condition of type "Denied"`},
			[]string{conditions + `remove a condition of type "Approved"`, conditions + `add a condition of type "Denied"`},
			[]string{conditions + `remove a condition of type "Approved"`}},
		{"failed", withConditions(t, good, approved, failed), yes, nil, nil, nil},
		{"failed no more", yes, withConditions(t, good, approved, failed), []string{conditions + `remove a condition of type "Failed"`}, []string{conditions + `remove a condition of type "Failed"`}, []string{conditions + `remove a condition of type "Failed"`}},
		{"issued", issued, yes, []string{certificate + "set certificate content"}, nil, []string{certificate + "set certificate content"}},
		{"issued again", another, issued, []string{certificate + "set certificate content"}, []string{certificate + "modify existing certificate content"}, []string{certificate + "set certificate content"}},
		{"revoked", yes, issued, []string{certificate + "set certificate content"}, []string{certificate + "modify existing certificate content"}, []string{certificate + "set certificate content"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sameFaults(t, k.ValidateUpdate(c.obj, c.old), c.main...)
			sameFaults(t, k.ValidateStatusUpdate(c.obj, c.old), c.status...)
			sameFaults(t, ValidateApprovalUpdate(c.obj, c.old), c.approval...)
		})
	}
}

func TestIssuedCertificates(t *testing.T) {
	k, good := kindNamed(t, signingRequests), goodSigningRequest(t)
	request, der := keyPair(t)
	old := withConditions(t, good, approved)
	block := pemOf(pemCertificate, der)
	for name, c := range map[string]struct {
		certificate []byte
		want        string
	}{
		"chain":       {append([]byte("text\n"), append(block, block...)...), ""},
		"text":        {[]byte("text"), "must contain at least one CERTIFICATE PEM block"},
		"other label": {append(append([]byte(nil), block...), pemOf(pemRequest, request)...), `only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"`},
		"headers":     {pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der, Headers: map[string]string{"a": "b"}}), "no PEM block headers are permitted"},
		"not DER":     {pemOf(pemCertificate, []byte("x")), ""},
		"empty":       {pemOf(pemCertificate, nil), "found CERTIFICATE PEM block containing 0 certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			r := old.DeepCopy()
			r.Status.Certificate = c.certificate
			if name == "chain" {
				sameFaults(t, k.ValidateStatusUpdate(r, old))
				return
			}
			sameFaults(t, k.ValidateStatusUpdate(r, old), `status.certificate: Invalid value: "<certificate data>": `+c.want)
		})
	}
}

func TestSigningRequestIsTheUsers(t *testing.T) {
	k := kindNamed(t, signingRequests)
	r := load(t, signingRequests, goodSigningRequest(t)+"  username: root\n  uid: '0'\n  groups: [system:masters]\n  extra: {a: [b]}\n").(*certificatesv1.CertificateSigningRequest)
	k.PrepareForCreate(r)
	if s := r.Spec; s.Username != "" || s.UID != "" || s.Groups != nil || s.Extra != nil {
		t.Errorf("the user said who he is: %+v", s)
	}
	u := &user.DefaultInfo{Name: "jo", UID: "7", Groups: []string{"devs"}, Extra: map[string][]string{"k": {"v", "w"}}}
	SetRequester(r, u)
	if s := r.Spec; s.Username != "jo" || s.UID != "7" || !reflect.DeepEqual(s.Groups, []string{"devs"}) ||
		!reflect.DeepEqual(s.Extra, map[string]certificatesv1.ExtraValue{"k": {"v", "w"}}) {
		t.Errorf("requester: %+v", s)
	}
	u.Groups[0] = "admins"
	if r.Spec.Groups[0] != "devs" {
		t.Error("the request shares its groups with the user")
	}
	SetRequester(r, &user.DefaultInfo{Name: "jo"})
	if s := r.Spec; s.UID != "" || s.Groups != nil || s.Extra != nil {
		t.Errorf("requester with a name only: %+v", s)
	}
	changed := r.DeepCopy()
	changed.Spec.SignerName, changed.Labels = "example.com/other", map[string]string{"a": "b"}
	k.PrepareForUpdate(changed, r)
	if changed.Spec.SignerName != r.Spec.SignerName || changed.Labels["a"] != "b" {
		t.Errorf("after update: %+v", changed)
	}
}

func TestConditionTimes(t *testing.T) {
	k, good := kindNamed(t, signingRequests), goodSigningRequest(t)
	_, der := keyPair(t)
	before, now := metav1.Unix(100, 0), metav1.Unix(200, 0)
	own := condition("Own", corev1.ConditionTrue)
	was := own
	was.LastTransitionTime, was.LastUpdateTime = before, before
	old := withConditions(t, good, was)
	r := withConditions(t, good, own, approved)
	r.Spec.SignerName, r.Status.Certificate = "example.com/other", pemOf(pemCertificate, der)
	PrepareApprovalUpdate(r, old, now)
	if r.Spec.SignerName != old.Spec.SignerName || r.Status.Certificate != nil {
		t.Errorf("an approver changed more than the verdict: %+v", r)
	}
	if c := r.Status.Conditions[0]; c.LastTransitionTime != before || c.LastUpdateTime != now {
		t.Errorf("a condition of the same status: %+v", c)
	}
	if c := r.Status.Conditions[1]; c.LastTransitionTime != now || c.LastUpdateTime != now {
		t.Errorf("a new condition: %+v", c)
	}
	turned := withConditions(t, good, condition("Own", corev1.ConditionFalse))
	PrepareApprovalUpdate(turned, old, now)
	if c := turned.Status.Conditions[0]; c.LastTransitionTime != now {
		t.Errorf("a condition of another status: %+v", c)
	}
	// A signer who lost the verdict's reason and times gives them back.
	old = r
	old.Status.Conditions[1].Reason = "Because"
	signed := withConditions(t, good, approved, own, failed)
	k.PrepareForStatusUpdate(signed, old)
	if signed.Status.Conditions[0] != old.Status.Conditions[1] {
		t.Errorf("the verdict: %+v", signed.Status.Conditions[0])
	}
	if c := signed.Status.Conditions[2]; c.LastTransitionTime.IsZero() || c.LastUpdateTime.IsZero() {
		t.Errorf("the failure has no times: %+v", c)
	}
	sameFaults(t, k.ValidateStatusUpdate(signed, old))
	refused := withConditions(t, good, denied)
	k.PrepareForStatusUpdate(refused, withConditions(t, good))
	sameFaults(t, k.ValidateStatusUpdate(refused, withConditions(t, good)), `status.conditions: Forbidden: updates may not add a condition of type "Denied"`)
}

func TestSigningRequestTable(t *testing.T) {
	const head = "Name|Age|SignerName|Requestor|RequestedDuration|Condition"
	const meta = "metadata: {name: c, " + born + "}\n"
	sameTable(t, signingRequests, head, meta, "c|5m|<none>||<none>|Pending")
	sameTable(t, signingRequests, head, meta+"spec: {signerName: a.b/c, username: jo, expirationSeconds: 86400}\nstatus: {certificate: eA==, conditions: [{type: Approved, status: 'True'}]}",
		"c|5m|a.b/c|jo|24h|Approved,Issued")
	sameTable(t, signingRequests, head, meta+"status: {conditions: [{type: Approved, status: 'True'}, {type: Failed, status: 'True'}]}", "c|5m|<none>||<none>|Approved,Failed")
	sameTable(t, signingRequests, head, meta+"status: {conditions: [{type: Approved, status: 'True'}, {type: Denied, status: 'True'}]}", "c|5m|<none>||<none>|Denied")
	k := kindNamed(t, signingRequests)
	if got := k.Fields(load(t, signingRequests, "spec: {signerName: a.b/c}"))["spec.signerName"]; got != "a.b/c" {
		t.Errorf("spec.signerName: %q", got)
	}
}
