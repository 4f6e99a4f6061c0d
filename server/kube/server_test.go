package kube_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

// harness is a server on a loopback listener and an administrator's client.
type harness struct {
	testing.TB
	store  *kubetest.Store
	server *kube.Server
	ca     *authority
	config *rest.Config
	// configs are all that were given out.
	configs []*rest.Config
	client  kubernetes.Interface
	dyn     dynamic.Interface
	addr    string
}

func start(t testing.TB, change ...func(*kube.Config)) *harness {
	t.Helper()
	h := &harness{TB: t, store: kubetest.New(), ca: newAuthority(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	c := kube.Config{
		Store:       h.store,
		TLS:         &tls.Config{Certificates: []tls.Certificate{h.ca.issue(t, pkix.Name{CommonName: "server"}, x509.ExtKeyUsageServerAuth)}},
		ClientCA:    func() *x509.CertPool { return h.ca.pool },
		ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
		Address:     h.addr,
	}
	for _, f := range change {
		f(&c)
	}
	if h.server, err = kube.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.server.Run(ctx, l) }()
	t.Cleanup(func() {
		h.hangUp()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	h.config = h.user(pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}})
	h.client = kubernetes.NewForConfigOrDie(h.config)
	h.dyn = dynamic.NewForConfigOrDie(h.config)
	h.namespace("default")
	h.eventually("the server knows its custom resources", func() bool {
		return h.client.Discovery().RESTClient().Get().AbsPath("/readyz/poststarthook/start-apiextensions-controllers").Do(context.Background()).Error() == nil
	})
	return h
}

// hangUp closes the clients' idle connections, for which a server that ends would wait a second.
func (h *harness) hangUp() {
	for _, c := range h.configs {
		if t, err := rest.TransportFor(c); err == nil {
			utilnet.CloseIdleConnectionsFor(t)
		}
	}
}

// user is the client configuration of somebody with a certificate of the cluster's authority.
func (h *harness) user(name pkix.Name) *rest.Config {
	c := h.ca.issue(h.TB, name, x509.ExtKeyUsageClientAuth)
	certPEM, keyPEM := encode(h.TB, c)
	config := &rest.Config{Host: "https://" + h.addr, QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.ca.cert.Raw}), CertData: certPEM, KeyData: keyPEM}}
	h.configs = append(h.configs, config)
	return config
}

// namespace puts a namespace with its account into the store, as the cluster does for its own.
func (h *harness) namespace(name string) {
	h.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "ns-" + "uid"},
		Spec:   corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default", UID: "sa-uid"}}
	if _, err := h.store.Propose(context.Background(), &ops.Put{Resource: corev1.Resource("namespaces"), Object: n},
		&ops.Put{Resource: corev1.Resource("serviceaccounts"), Object: account}); err != nil {
		h.Fatal(err)
	}
}

// authority is a certificate authority for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a *authority) issue(t testing.TB, name pkix.Name, usage x509.ExtKeyUsage, hosts ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: hosts}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func encode(t testing.TB, c tls.Certificate) (cert, key []byte) {
	der, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}
