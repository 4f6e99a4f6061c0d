package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

var (
	now    = time.Now()
	server = Peer{RoleServer, "a"}
	node   = Peer{RoleNode, "n1"}
)

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func identity(t *testing.T, ca *CA, p Peer) *Identity {
	t.Helper()
	pair, err := ca.IssuePeer(p, now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := NewIdentity(Material{Pair: pair, CA: ca.CertPEM()})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestCASurvivesItsDisk(t *testing.T) {
	ca := newCA(t)
	pair, err := ca.Pair()
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadCA(pair)
	if err != nil || again.Hash() != ca.Hash() {
		t.Fatalf("loaded %v, %v", again, err)
	}
	other, _ := newCA(t).Pair()
	if _, err := LoadCA(Pair{Cert: pair.Cert, Key: other.Key}); err == nil {
		t.Error("a CA with another's key was loaded")
	}
}

func TestPeerCertificateSaysWhoItIs(t *testing.T) {
	for _, c := range []struct {
		peer      Peer
		cn, group string
		uri       string
	}{
		{node, "system:node:n1", "system:nodes", "peapod://node/n1"},
		{server, "peapod:server:a", "peapod:servers", "peapod://server/a"},
	} {
		pair, err := newCA(t).IssuePeer(c.peer, now)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ParseCert(pair.Cert)
		if err != nil {
			t.Fatal(err)
		}
		if cert.Subject.CommonName != c.cn || cert.Subject.Organization[0] != c.group || cert.URIs[0].String() != c.uri {
			t.Errorf("%v has subject %v and URI %v", c.peer, cert.Subject, cert.URIs)
		}
		if got, err := PeerOf(cert); err != nil || got != c.peer {
			t.Errorf("read back as %v, %v", got, err)
		}
	}
}

// A signer decides who the peer is; what the request claims does not count.
// Invariant 45.
func TestRequestCannotChooseItsName(t *testing.T) {
	request, _, err := NewRequest(server)
	if err != nil {
		t.Fatal(err)
	}
	text, err := newCA(t).SignPeer(request, node, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := ParseCert(text)
	if got, err := PeerOf(cert); err != nil || got != node {
		t.Errorf("signed as %v, %v", got, err)
	}
	for _, bad := range []string{"", "A", "a/b", "-a", strings.Repeat("a", 300)} {
		if _, _, err := NewRequest(Peer{RoleNode, bad}); err == nil {
			t.Errorf("name %q was accepted", bad)
		}
	}
}

// handshake returns what each side thinks of it.
func handshake(serverConfig, clientConfig *tls.Config) (serverErr, clientErr error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		defer a.Close()
		conn := tls.Server(a, serverConfig)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("."))
		}
		done <- err
	}()
	client := tls.Client(b, clientConfig)
	clientErr = client.Handshake()
	if clientErr == nil {
		_, clientErr = client.Read(make([]byte, 1)) // with TLS 1.3 a refusal comes after the handshake
	}
	b.Close()
	return <-done, clientErr
}

func TestWhoMayShakeHands(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	a, n := identity(t, ca, server), identity(t, ca, node)
	user, err := ca.IssueClient("admin", []string{"system:masters"}, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	userCert, err := tls.X509KeyPair(user.Cert, user.Key)
	if err != nil {
		t.Fatal(err)
	}
	asUser := n.ClientConfig(server, "rpc")
	asUser.GetClientCertificate = nil
	asUser.Certificates = []tls.Certificate{userCert}
	anonymous := asUser.Clone()
	anonymous.Certificates = nil

	for name, c := range map[string]struct {
		config *tls.Config
		ok     bool
	}{
		"a node":                   {n.ClientConfig(server, "rpc"), true},
		"any server":               {n.ClientConfig(Peer{Role: RoleServer}, "rpc"), true},
		"expecting another server": {n.ClientConfig(Peer{RoleServer, "b"}, "rpc"), false},
		"expecting a node":         {n.ClientConfig(Peer{RoleNode, "a"}, "rpc"), false},
		"another cluster's node":   {identity(t, foreign, node).ClientConfig(server, "rpc"), false},
		"an API user":              {asUser, false},
		"nobody":                   {anonymous, false},
	} {
		serverErr, clientErr := handshake(a.ServerConfig("rpc"), c.config)
		if ok := serverErr == nil && clientErr == nil; ok != c.ok {
			t.Errorf("%s: server %v, client %v", name, serverErr, clientErr)
		}
	}
}

func TestPinnedConfigKnowsTheTokensCluster(t *testing.T) {
	ca := newCA(t)
	a := identity(t, ca, server)
	if s, c := handshake(a.OpenServerConfig("join"), PinnedConfig(ca.Hash(), "join")); s != nil || c != nil {
		t.Errorf("the right cluster: %v, %v", s, c)
	}
	if _, err := handshake(a.OpenServerConfig("join"), PinnedConfig(newCA(t).Hash(), "join")); !errors.Is(err, ErrPin) {
		t.Errorf("another cluster: %v", err)
	}
	n := identity(t, ca, node)
	if _, err := handshake(n.OpenServerConfig("join"), PinnedConfig(ca.Hash(), "join")); err == nil {
		t.Error("a node passed for a server")
	}
}

func TestRenewalIsTakenIntoUseByTheNextHandshake(t *testing.T) {
	ca := newCA(t)
	id, peer := identity(t, ca, node), identity(t, ca, server)
	config := id.ServerConfig("rpc")
	before := id.Material()
	err := id.Renew(t.Context(), func(_ context.Context, request []byte) ([]byte, []byte, error) {
		cert, err := ca.SignPeer(request, node, now.Add(time.Hour))
		return cert, ca.CertPEM(), err
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(id.Material().Cert) == string(before.Cert) || string(id.Material().Key) == string(before.Key) {
		t.Error("key or certificate is still the old one")
	}
	if s, c := handshake(config, peer.ClientConfig(node, "rpc")); s != nil || c != nil {
		t.Errorf("a config made before the renewal: %v, %v", s, c)
	}
	if err := id.Replace(identity(t, ca, server).Material()); err == nil {
		t.Error("the identity became another peer's")
	}
	if at := id.RenewAt(); at.Before(now) || at.After(id.NotAfter()) {
		t.Errorf("renews at %v, ends at %v", at, id.NotAfter())
	}
}

func TestServingCertificateHasTheNames(t *testing.T) {
	ca := newCA(t)
	pair, err := ca.IssueServing("a", "cluster.local", nil, []net.IP{net.IPv4(10, 96, 0, 1), net.IPv4(127, 0, 0, 1)}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := ParseCert(pair.Cert)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	for _, name := range []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "a", "10.96.0.1", "127.0.0.1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokens(t *testing.T) {
	ca := newCA(t)
	token := NewToken(ca)
	got, err := ParseToken(" " + token.String() + "\n")
	if err != nil || got != token || got.CAHash != ca.Hash() {
		t.Fatalf("read back %+v, %v", got, err)
	}
	hash := HashSecret(token.Secret)
	if !SecretMatches(hash, token.Secret) || SecretMatches(hash, NewToken(ca).Secret) || SecretMatches(nil, "") {
		t.Error("the secret's hash does not tell secrets apart")
	}
	for _, bad := range []string{"", "peapod.a.b.c", strings.ToUpper(token.String()), token.String() + "0"} {
		if _, err := ParseToken(bad); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestKubeconfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	want := Kubeconfig{Cluster: "lab", Server: "https://127.0.0.1:6443", CA: []byte("ca"), User: "admin", Client: Pair{Cert: []byte("c"), Key: []byte("k")}}
	if err := want.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file clientcmdv1.Config
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	if file.CurrentContext != "lab" || file.Clusters[0].Cluster.Server != want.Server || string(file.AuthInfos[0].AuthInfo.ClientKeyData) != "k" {
		t.Errorf("wrote %s", text)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
