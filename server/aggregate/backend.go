package aggregate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

const (
	// dialTime and handshakeTime bound what comes before a request is sent, which may have no end of its own.
	dialTime      = 10 * time.Second
	handshakeTime = 10 * time.Second
	idleTime      = 90 * time.Second
	idleMax       = 32
	headerMax     = 1 << 20 // bytes of an answer's header
)

// backend is the way to the service of one APIService.
type backend struct {
	service   *apiregistrationv1.APIService
	transport *http.Transport
	fault     error // why nobody can connect, as the object is
}

func (a *Aggregator) newBackend(s *apiregistrationv1.APIService) *backend {
	b := &backend{service: s}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         s.Spec.Service.Name + "." + s.Spec.Service.Namespace + ".svc",
		InsecureSkipVerify: s.Spec.InsecureSkipTLSVerify, // #nosec G402 -- as the user says
		NextProtos:         []string{"h2", "http/1.1"},
	}
	if len(s.Spec.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(s.Spec.CABundle) {
			b.fault = errors.New("spec.caBundle holds no certificate")
		}
	}
	if prove := a.config.Certificate; prove != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return prove() }
	}
	b.transport = &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, TLSHandshakeTimeout: handshakeTime, DisableCompression: true,
		IdleConnTimeout: idleTime, MaxIdleConnsPerHost: idleMax, MaxResponseHeaderBytes: headerMax,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx, s.Spec.Service) },
	}
	return b
}

// dial connects to something ready behind the service.
func (a *Aggregator) dial(ctx context.Context, ref *apiregistrationv1.ServiceReference) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	address, err := a.config.Services.Endpoint(ref.Namespace, ref.Name, portOf(ref))
	if err != nil {
		return nil, err
	}
	return a.config.Services.Dial(ctx, ref.Namespace, ref.Name, address)
}

// url names the service by the name that its certificate must have.
func (b *backend) url(path string) *url.URL {
	ref := b.service.Spec.Service
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(ref.Name+"."+ref.Namespace+".svc", strconv.Itoa(int(portOf(ref)))), Path: path}
}

func (b *backend) close() { b.transport.CloseIdleConnections() }

// available says whether requests may be sent, and if not, why.
func (b *backend) available() (why string, ok bool) {
	if b.fault != nil {
		return b.fault.Error(), false
	}
	c := helper.GetAPIServiceConditionByType(b.service, apiregistrationv1.Available)
	switch {
	case c == nil:
		return "it has not been asked yet", false
	case c.Status != apiregistrationv1.ConditionTrue:
		return c.Reason + ": " + c.Message, false
	}
	return "", true
}

func groupVersionOf(s *apiregistrationv1.APIService) schema.GroupVersion {
	return schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
}

// sameWay says whether connections of the one may serve for the other.
func sameWay(a, b *apiregistrationv1.APIService) bool {
	return a.UID == b.UID && equality.Semantic.DeepEqual(a.Spec, b.Spec)
}
