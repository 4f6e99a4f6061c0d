package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"

	readBuffer = 32 << 10
)

// errTooMany is the server's word that this client should wait.
var errTooMany = errors.New("too many requests")

// writer is a load generator's client: one connection of HTTP/1.1, bodies in Kubernetes' protobuf, and an
// answer that is read but not decoded. On a machine with two cores the generator competes with what it
// measures, so it writes its requests itself.
type writer struct {
	conn   *tls.Conn
	in     *bufio.Reader
	host   string
	body   runtime.Encoder
	events *bufio.Reader // of a watch
	// encoding is that of answers which the client accepts, if any; it does not decode them.
	encoding string
}

func newWriter(ctx context.Context, l *rig.Lab, server string) (*writer, error) {
	c, err := l.Config(server)
	if err != nil {
		return nil, err
	}
	return newWriterAs(ctx, c)
}

// newWriterAs is a client with the credentials and the address of a configuration.
func newWriterAs(ctx context.Context, c *rest.Config) (*writer, error) {
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
	raw := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	return &writer{conn: conn.(*tls.Conn), in: bufio.NewReaderSize(conn, readBuffer), host: at.Host,
		body: scheme.Codecs.EncoderForVersion(raw, schema.GroupVersions{corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion})}, nil
}

func (w *writer) create(m *corev1.ConfigMap) error { return w.createIn("default", m) }

func (w *writer) createIn(namespace string, m *corev1.ConfigMap) error {
	return w.createAt("/api/v1/namespaces/"+namespace+"/configmaps", m)
}

// createAt posts an object to the path of its kind.
func (w *writer) createAt(path string, o runtime.Object) error {
	var body bytes.Buffer
	if err := w.body.Encode(o, &body); err != nil {
		return err
	}
	r, err := w.ask("POST", path, protobufType, body.Bytes())
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

// get reads an answer and returns its length.
func (w *writer) get(path, mediaType string) (int64, error) {
	r, err := w.ask("GET", path, mediaType, nil)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	return io.Copy(io.Discard, r.Body)
}

// ask sends a request and reads the head of its answer.
func (w *writer) ask(method, path, mediaType string, body []byte) (*http.Response, error) {
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: %s\r\nAccept: %s\r\nContent-Length: %d\r\n",
		method, path, w.host, mediaType, mediaType, len(body))
	if w.encoding != "" {
		fmt.Fprintf(&request, "Accept-Encoding: %s\r\n", w.encoding)
	}
	request.WriteString("\r\n")
	request.Write(body)
	if _, err := w.conn.Write(request.Bytes()); err != nil {
		return nil, err
	}
	r, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return nil, err
	}
	if r.StatusCode >= http.StatusMultipleChoices {
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		err := fmt.Errorf("%s %s: %s: %s", method, path, r.Status, text)
		if r.StatusCode == http.StatusTooManyRequests {
			err = fmt.Errorf("%w: %w", errTooMany, err)
		}
		return nil, err
	}
	return r, nil
}
