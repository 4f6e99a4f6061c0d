package ingress

import (
	"crypto/tls"
	"net/http"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/api"
)

// speech is how a backend wants to be spoken to.
type speech struct {
	tls   bool // whose certificate nobody checks: pods have addresses that no authority vouches for
	http2 bool // and nothing else
}

// speechOf is what an ingress says by annotation of all of its backends, else what the service says of the port (appProtocol).
func speechOf(o api.IngressOptions, app string) speech {
	if o.Backend != "" {
		app = o.Backend
	}
	switch strings.ToLower(app) {
	case "kubernetes.io/h2c", "h2c", "http2", "grpc":
		return speech{http2: true}
	case "https", "kubernetes.io/wss":
		return speech{tls: true}
	case "grpcs":
		return speech{tls: true, http2: true}
	}
	return speech{}
}

func (s speech) scheme() string {
	if s.tls {
		return "https"
	}
	return "http"
}

// transport is for one endpoint. HTTP/2 is spoken only to those that ask for it: what upgrades a connection needs HTTP/1.
func (s speech) transport(ws *wires) *http.Transport {
	t := &http.Transport{
		DialContext:         ws.dial,
		MaxIdleConnsPerHost: idlePerEndpoint, IdleConnTimeout: endpointIdle, ExpectContinueTimeout: time.Second,
		MaxResponseHeaderBytes: answerHeaderBytesMax,
		DisableCompression:     true, // what the client did not ask for it is not given
		WriteBufferSize:        bufferBytes, ReadBufferSize: bufferBytes,
		Protocols: &http.Protocols{},
	}
	t.Protocols.SetHTTP1(!s.http2)
	t.Protocols.SetHTTP2(s.http2 && s.tls)
	t.Protocols.SetUnencryptedHTTP2(s.http2 && !s.tls)
	if s.tls {
		t.TLSClientConfig, t.TLSHandshakeTimeout = &tls.Config{InsecureSkipVerify: true}, handshakeTimeout
	}
	if s.http2 {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: keepAlive, PingTimeout: keepAlive}
	}
	return t
}
