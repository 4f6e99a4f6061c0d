package kubectltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// stranger is a certificate that no cluster has signed, for the name of an administrator.
func stranger(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server1", Organization: []string{"system:masters"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestAnonymousIsRefused(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	host := "https://" + l.Node(t, "server2").Address + ":6443"
	ask := func(path, token string, certificates ...tls.Certificate) (int, metav1.Status, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}, DisableKeepAlives: true}
		req, err := http.NewRequest(http.MethodGet, host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
		if err != nil {
			return 0, metav1.Status{}, err
		}
		defer resp.Body.Close()
		var s metav1.Status
		b, _ := io.ReadAll(resp.Body)
		_ = json.Unmarshal(b, &s) // a body that is no Status fails below
		return resp.StatusCode, s, nil
	}
	for _, path := range []string{"/api/v1/pods", "/api/v1/namespaces/default/secrets", "/apis/apps/v1/deployments", "/metrics"} {
		code, s, err := ask(path, "")
		if err != nil || code != 401 && code != 403 || s.Status != "Failure" {
			t.Errorf("anonymous %s: %d %+v %v", path, code, s, err)
		}
	}
	if code, s, err := ask("/api/v1/pods", "rubbish"); err != nil || code != 401 || s.Reason != metav1.StatusReasonUnauthorized {
		t.Errorf("a bad token: %d %+v %v", code, s, err)
	}
	if code, _, err := ask("/api/v1/pods", "", stranger(t)); err == nil && code != 401 {
		t.Errorf("a stranger's certificate: %d", code)
	}
	if _, err := http.Get("http://" + l.Node(t, "server2").Address + ":6443/api"); err == nil {
		resp, _ := http.Get("http://" + l.Node(t, "server2").Address + ":6443/api")
		if resp.StatusCode != 400 {
			t.Errorf("plain HTTP: %s", resp.Status)
		}
		resp.Body.Close()
	}
}

// TestStrangersBetweenAgents wants no answer for who has no certificate of the cluster.
func TestStrangersBetweenAgents(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	for _, protocol := range []string{"raft", "rpc"} {
		for name, certificates := range map[string][]tls.Certificate{"none": nil, "a stranger's": {stranger(t)}} {
			d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}, Certificates: certificates}}
			c, err := d.Dial("tcp", l.Node(t, "server1").Address+":7440")
			if err != nil {
				continue
			}
			// With TLS 1.3 the refusal comes with the first read.
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = c.Write(make([]byte, 64))
			if n, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
				t.Errorf("%s with certificate %s: %d bytes, %v", protocol, name, n, err)
			}
			c.Close()
		}
	}
	// What is not encrypted with the cluster's key gets no answer from gossip: a ping of memberlist's, in the clear.
	u, err := net.Dial("udp", l.Node(t, "server1").Address+":7441")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	_ = u.SetDeadline(time.Now().Add(time.Second))
	_, _ = u.Write([]byte("\x00\x83\xa5SeqNo\x01\xa4Node\xa7server1\xaaSourceNode\xa1x"))
	if n, err := u.Read(make([]byte, 1500)); err == nil {
		t.Errorf("gossip answers a stranger with %d bytes", n)
	}
}
