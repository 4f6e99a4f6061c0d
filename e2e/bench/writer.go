package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// writer is a load generator's client: one connection of HTTP/1.1, bodies in Kubernetes' protobuf, and an
// answer that is read but not decoded. On a machine with two cores the generator competes with what it
// measures, so it writes its requests itself.
type writer struct {
	conn *tls.Conn
	in   *bufio.Reader
	head string
	body runtime.Encoder
}

func newWriter(ctx context.Context, l *rig.Lab, server string) (*writer, error) {
	c, err := l.Config(server)
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(c.Host)
	if err != nil {
		return nil, err
	}
	config, err := rest.TLSConfigFor(c)
	if err != nil {
		return nil, err
	}
	config.NextProtos = []string{"http/1.1"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: %s\r\nAccept: %s\r\n",
		at.Host, runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf)
	raw := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	return &writer{conn.(*tls.Conn), bufio.NewReader(conn), head, scheme.Codecs.EncoderForVersion(raw, corev1.SchemeGroupVersion)}, nil
}

func (w *writer) create(m *corev1.ConfigMap) error {
	var body, request bytes.Buffer
	if err := w.body.Encode(m, &body); err != nil {
		return err
	}
	fmt.Fprintf(&request, "%sContent-Length: %d\r\n\r\n", w.head, body.Len())
	request.Write(body.Bytes())
	if _, err := w.conn.Write(request.Bytes()); err != nil {
		return err
	}
	r, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(r.Body)
		return fmt.Errorf("creating a ConfigMap: %s: %s", r.Status, text)
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err
}
