package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc/pki"
)

const (
	// frontProxyUser is the name in the certificates by which servers prove to services that the headers which name the user are theirs.
	frontProxyUser = "front-proxy-client"
	// frontProxyLife is how long such a certificate is good; a new one is made when two thirds are over.
	frontProxyLife = 30 * 24 * time.Hour
	// authenticationConfig is the ConfigMap, in kube-system, that tells API servers of others whom to believe.
	authenticationConfig = "extension-apiserver-authentication"
)

var configMapsResource = schema.GroupResource{Resource: "configmaps"}

// foundFrontProxy puts the authority of servers' certificates for services into the log, unless there is one. It is not the cluster's own,
// for that signs other certificates too, whose owners must not be able to name users.
func (s *Server) foundFrontProxy(ctx context.Context) error {
	if _, there := s.state.Meta(metaFrontProxy); there {
		return nil
	}
	ca, err := pki.NewCA("peapod front proxy", s.now())
	if err != nil {
		return err
	}
	pair, err := ca.Pair()
	if err != nil {
		return err
	}
	return s.propose(ctx, &ops.PutMeta{Key: metaFrontProxy, Value: mustJSON(pair), IfAbsent: true})
}

func (m settings) frontProxyCA() (*pki.CA, error) {
	b, ok := m.state.Meta(metaFrontProxy)
	if !ok {
		return nil, errNotReady
	}
	var pair pki.Pair
	if err := json.Unmarshal(b, &pair); err != nil {
		return nil, fmt.Errorf("reading the CA of the front proxy: %w", err)
	}
	return pki.LoadCA(pair)
}

// frontProxy issues this server's certificate for services, and a new one in time.
type frontProxy struct {
	settings settings
	now      func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
}

func (p *frontProxy) certificate() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && p.now().Before(renewTime(p.current.Leaf)) {
		return p.current, nil
	}
	ca, err := p.settings.frontProxyCA()
	if err != nil {
		return nil, err
	}
	pair, err := ca.IssueClient(frontProxyUser, nil, frontProxyLife, p.now())
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	p.current = &c
	return p.current, nil
}

// authenticationFacts are what API servers of others read to know who may name users, and who users with a certificate are.
func (s *Server) authenticationFacts() (map[string]string, error) {
	ca, err := s.meta.ca()
	if err != nil {
		return nil, err
	}
	front, err := s.meta.frontProxyCA()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"client-ca-file":                     string(ca.CertPEM()),
		"requestheader-client-ca-file":       string(front.CertPEM()),
		"requestheader-allowed-names":        jsonList(frontProxyUser),
		"requestheader-username-headers":     jsonList("X-Remote-User"),
		"requestheader-uid-headers":          jsonList("X-Remote-Uid"),
		"requestheader-group-headers":        jsonList("X-Remote-Group"),
		"requestheader-extra-headers-prefix": jsonList("X-Remote-Extra-"),
	}, nil
}

func jsonList(word string) string { return string(bytes.TrimSpace(mustJSON([]string{word}))) }

// authenticationMap brings the ConfigMap up to date. What others have added to it stays.
func (s *Server) authenticationMap() ([]ops.Op, error) {
	want, err := s.authenticationFacts()
	if err != nil {
		return nil, err
	}
	old, there := s.state.Get(configMapsResource, metav1.NamespaceSystem, authenticationConfig)
	if !there {
		return s.unlessThere("", "configmaps", &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: authenticationConfig}, Data: want}), nil
	}
	next := old.(*corev1.ConfigMap).DeepCopy()
	if next.Data == nil {
		next.Data = map[string]string{}
	}
	maps.Copy(next.Data, want)
	if next.DeletionTimestamp != nil || maps.Equal(next.Data, old.(*corev1.ConfigMap).Data) {
		return nil, nil
	}
	return []ops.Op{&ops.Put{Resource: configMapsResource, Object: next, Expect: revisionOf(old)}}, nil
}
