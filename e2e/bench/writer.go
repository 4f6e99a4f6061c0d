package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// writer is a load generator's client: one connection of HTTP/1.1, bodies in Kubernetes' protobuf, and an
// answer that is read but not decoded, since on a machine with two cores the generator competes with
// what it measures.
type writer struct {
	http *http.Client
	url  string
	body runtime.Encoder
}

func newWriter(l *rig.Lab, server string) (*writer, error) {
	c, err := l.Config(server)
	if err != nil {
		return nil, err
	}
	c.NextProtos = []string{"http/1.1"}
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, err
	}
	raw := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	return &writer{client, c.Host + "/api/v1/namespaces/default/configmaps", scheme.Codecs.EncoderForVersion(raw, corev1.SchemeGroupVersion)}, nil
}

func (w *writer) create(ctx context.Context, m *corev1.ConfigMap) error {
	var body bytes.Buffer
	if err := w.body.Encode(m, &body); err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, &body)
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", runtime.ContentTypeProtobuf)
	q.Header.Set("Accept", runtime.ContentTypeProtobuf)
	r, err := w.http.Do(q)
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
