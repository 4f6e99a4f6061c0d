package kube_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Logs come over a WebSocket too, as the conformance suite reads them.
func TestWire6PodLogOverWebSocket(t *testing.T) {
	h := startWithPod(t)
	cert, err := tls.X509KeyPair(h.config.CertData, h.config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"", "binary.k8s.io", "base64.binary.k8s.io"} {
		d := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: h.ca.pool, Certificates: []tls.Certificate{cert}}, HandshakeTimeout: 10 * time.Second}
		if protocol != "" {
			d.Subprotocols = []string{protocol}
		}
		conn, _, err := d.Dial("wss://"+h.addr+"/api/v1/namespaces/default/pods/p/log?container=main", nil)
		if err != nil {
			t.Fatalf("%q: %v", protocol, err)
		}
		var text strings.Builder
		for {
			_, b, err := conn.ReadMessage()
			if err != nil {
				break // the log has ended
			}
			text.Write(b)
		}
		conn.Close()
		want := "log of main"
		if protocol == "base64.binary.k8s.io" {
			want = "bG9nIG9mIG1haW4"
		}
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q: %q", protocol, text.String())
		}
	}
}
