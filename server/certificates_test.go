package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/peapod-sh/peapod/rpc/pki"
)

func signingRequest(t *testing.T, template *x509.CertificateRequest) (request, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// A user asks, an administrator approves, the leader signs, and the certificate opens the API.
func TestCertificateIsSigned(t *testing.T) {
	s := newTestServer(t, "a")
	s.start()
	requests := s.client().CertificatesV1().CertificateSigningRequests()
	text, key := signingRequest(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane", Organization: []string{"dev"}}})
	seconds := int32(1200)
	r, err := requests.Create(t.Context(), &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "jane"},
		Spec: certificatesv1.CertificateSigningRequestSpec{Request: text, SignerName: certificatesv1.KubeAPIServerClientSignerName,
			ExpirationSeconds: &seconds, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, Username: "forged"}}, metav1.CreateOptions{})
	if err != nil || r.Spec.Username != "admin" {
		t.Fatalf("%+v, %v", r, err)
	}
	r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	if _, err := requests.UpdateApproval(t.Context(), "jane", r, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request is signed", func() error {
		if r, err = requests.Get(t.Context(), "jane", metav1.GetOptions{}); err != nil || len(r.Status.Certificate) == 0 {
			return fmt.Errorf("%+v, %w", r, err)
		}
		return nil
	})
	config := s.restConfig()
	config.CertData, config.KeyData = r.Status.Certificate, key
	who, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil && !strings.Contains(err.Error(), `User "jane"`) {
		t.Fatalf("%+v, %v", who, err)
	}
	block, _ := pem.Decode(r.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || time.Until(cert.NotAfter) > 20*time.Minute {
		t.Errorf("good until %v, %v", cert.NotAfter, err)
	}
}

// A secret of the old kind gets a token, which dies with it; one of an account that is not there goes.
func TestTokenSecret(t *testing.T) {
	s := newTestServer(t, "a")
	s.start()
	secrets := s.client().CoreV1().Secrets("default")
	of := func(name, account string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}}, Type: corev1.SecretTypeServiceAccountToken}
	}
	var token []byte
	eventually(t, "the secret has a token", func() error {
		_, _ = secrets.Create(t.Context(), of("robot", "default"), metav1.CreateOptions{}) // again, if it came before its account
		got, err := secrets.Get(t.Context(), "robot", metav1.GetOptions{})
		if err != nil || len(got.Data["token"]) == 0 || len(got.Data["ca.crt"]) == 0 || string(got.Data["namespace"]) != "default" {
			return fmt.Errorf("%+v, %w", got, err)
		}
		token = got.Data["token"]
		return nil
	})
	config := rest.AnonymousClientConfig(s.restConfig())
	config.BearerToken = string(token)
	robot := kubernetes.NewForConfigOrDie(config)
	ask := func() error {
		r, err := robot.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil && r.Status.UserInfo.Username != "system:serviceaccount:default:default" {
			t.Errorf("%+v", r.Status)
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ask(); !apierrors.IsUnauthorized(err) {
		t.Errorf("after the secret's deletion: %v", err)
	}
	if _, err := secrets.Create(t.Context(), of("stray", "nobody"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stray secret goes", func() error {
		if _, err := secrets.Get(t.Context(), "stray", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
}

func (s *testServer) restConfig() *rest.Config {
	k, err := s.server.AdminKubeconfig("admin", []string{"system:masters"})
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := k.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return config
}

func TestSignerRules(t *testing.T) {
	node := pkix.Name{CommonName: "system:node:n", Organization: []string{"system:nodes"}}
	const (
		client  = certificatesv1.KubeAPIServerClientSignerName
		kubelet = certificatesv1.KubeAPIServerClientKubeletSignerName
		serving = certificatesv1.KubeletServingSignerName
	)
	uri := &url.URL{Scheme: "spiffe", Host: "a"}
	for name, c := range map[string]struct {
		signer   string
		template x509.CertificateRequest
		usages   []certificatesv1.KeyUsage
		fault    string
	}{
		"a client":                 {client, x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, []certificatesv1.KeyUsage{"client auth", "digital signature"}, ""},
		"a client that serves":     {client, x509.CertificateRequest{}, []certificatesv1.KeyUsage{"client auth", "server auth"}, `"server auth" is not allowed`},
		"a client without use":     {client, x509.CertificateRequest{}, []certificatesv1.KeyUsage{"digital signature"}, `"client auth" is needed`},
		"a node":                   {kubelet, x509.CertificateRequest{Subject: node}, []certificatesv1.KeyUsage{"client auth"}, ""},
		"a node with names":        {kubelet, x509.CertificateRequest{Subject: node, DNSNames: []string{"a"}}, []certificatesv1.KeyUsage{"client auth"}, "no alternative names"},
		"no node":                  {kubelet, x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, []certificatesv1.KeyUsage{"client auth"}, "system:nodes"},
		"a node of more groups":    {kubelet, x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:n", Organization: []string{"system:nodes", "system:masters"}}}, []certificatesv1.KeyUsage{"client auth"}, "system:nodes"},
		"a serving node":           {serving, x509.CertificateRequest{Subject: node, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, []certificatesv1.KeyUsage{"server auth"}, ""},
		"a serving node, nameless": {serving, x509.CertificateRequest{Subject: node}, []certificatesv1.KeyUsage{"server auth"}, "needs DNS or IP"},
		"a serving node with URIs": {serving, x509.CertificateRequest{Subject: node, DNSNames: []string{"a"}, URIs: []*url.URL{uri}}, []certificatesv1.KeyUsage{"server auth"}, "no others"},
	} {
		text, _ := signingRequest(t, &c.template)
		q, err := pki.ParseUserRequest(text)
		if err != nil {
			t.Fatal(name, err)
		}
		err = signerRules[c.signer].check(q, c.usages)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStaleRequests(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) metav1.Time { return metav1.NewTime(now.Add(-ago)) }
	verdict := func(ago time.Duration) []certificatesv1.CertificateSigningRequestCondition {
		return []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: at(ago)}}
	}
	for name, c := range map[string]struct {
		created    time.Duration
		conditions []certificatesv1.CertificateSigningRequestCondition
		stale      bool
	}{
		"new":               {time.Minute, nil, false},
		"waiting":           {23 * time.Hour, nil, false},
		"forgotten":         {25 * time.Hour, nil, true},
		"just answered":     {3 * time.Hour, verdict(59 * time.Minute), false},
		"answered long ago": {3 * time.Hour, verdict(61 * time.Minute), true},
	} {
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(c.created)}}
		r.Status.Conditions = c.conditions
		if got := now.After(staleAt(r)); got != c.stale {
			t.Errorf("%s: %v", name, got)
		}
	}
}
