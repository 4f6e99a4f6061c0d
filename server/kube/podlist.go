package kube

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"

	"github.com/peapod-sh/peapod/api"
)

// podLister is the main storage of pods: it answers a list that is to be encoded as it is with records instead of typed pods.
type podLister struct {
	resource
	records *registry.Store // the same store, whose lists are podRecords
}

func newPodLister(r resource) podLister {
	records := *r.Store
	records.NewListFunc = func() runtime.Object { return &podRecords{} }
	return podLister{r, &records}
}

// List lists pods.
func (l podLister) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	if plain, _ := ctx.Value(plainList{}).(bool); plain {
		return l.records.List(ctx, o)
	}
	return l.Store.List(ctx, o)
}

// plainList is the key by which a request's context says that a list is wanted as it is, not as a table or as metadata alone.
type plainList struct{}

func withPlainLists(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if ok && info.Verb == "list" && info.Resource == podsResource.Resource && !strings.Contains(r.Header.Get("Accept"), "as=") {
			r = r.WithContext(context.WithValue(r.Context(), plainList{}, true))
		}
		h.ServeHTTP(w, r)
	})
}

// recordSnapshot is a Snapshot that can yield pods as records.
type recordSnapshot interface {
	AscendPods(namespace, name string, yield func(*api.PodRecord) bool)
}

// podRecords is a list of pods on its way to the encoder. Its items are either in PodList or, while nobody needs them as typed
// pods, in records.
type podRecords struct {
	corev1.PodList
	records []*api.PodRecord
}

var _ runtime.CacheableObject = (*podRecords)(nil)

// GetObject makes the typed list.
func (l *podRecords) GetObject() runtime.Object {
	out := l.PodList
	if l.records != nil {
		out.Items = make([]corev1.Pod, len(l.records))
		for i, r := range l.records {
			out.Items[i] = *r.Pod()
		}
	}
	return &out
}

func (l *podRecords) DeepCopyObject() runtime.Object { return l.GetObject().DeepCopyObject() }

// CacheEncode writes JSON and protobuf by itself. It knows them by what the encoder makes of an empty list; whatever differs from
// what is written here (indented JSON, YAML) is left to the encoder.
func (l *podRecords) CacheEncode(_ runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	if len(l.records) == 0 {
		return encode(l.GetObject(), w)
	}
	empty := l.PodList
	empty.Items = []corev1.Pod{}
	var b bytes.Buffer
	if err := encode(&empty, &b); err != nil {
		return err
	}
	if head, ok := bytes.CutSuffix(b.Bytes(), []byte(jsonListEnd)); ok && bytes.HasSuffix(head, []byte(jsonListItems)) {
		return l.writeJSON(head, w)
	}
	var own bytes.Buffer
	if err := l.envelope(&own, 0, func() error { return nil }); err != nil || !bytes.Equal(own.Bytes(), b.Bytes()) {
		return encode(l.GetObject(), w)
	}
	return l.writeProto(w)
}

const (
	jsonListItems = `"items":[`
	jsonListEnd   = "]}\n"
	// listBuffer collects small items, since each write to the client may become a record of TLS.
	listBuffer = 64 << 10
)

func (l *podRecords) writeJSON(head []byte, w io.Writer) error {
	var e api.PodEncoder
	out := append(make([]byte, 0, 2*listBuffer), head...)
	for i, r := range l.records {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = e.AppendJSON(out, r); err != nil {
			return err
		}
		if len(out) >= listBuffer {
			if _, err := w.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	_, err := w.Write(append(out, jsonListEnd...))
	return err
}

// Tags of a list's fields, which have lengths: its metadata, and an item.
const (
	protoMeta = 1<<3 | 2
	protoItem = 2<<3 | 2
)

// writeProto encodes each item twice, since how long all of them are comes before them.
func (l *podRecords) writeProto(w io.Writer) error {
	size := 0
	if err := l.eachProto(func(head, item []byte) error { size += len(head) + len(item); return nil }); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, listBuffer)
	err := l.envelope(out, size, func() error {
		return l.eachProto(func(head, item []byte) error {
			_, _ = out.Write(head) // the next write tells of a failure
			_, err := out.Write(item)
			return err
		})
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// eachProto yields items with their tags and lengths; the bytes are valid until yield returns.
func (l *podRecords) eachProto(yield func(head, item []byte) error) (err error) {
	var e api.PodEncoder
	var head, item []byte
	for _, r := range l.records {
		if item, err = e.AppendProto(item[:0], r); err != nil {
			return err
		}
		head = binary.AppendUvarint(append(head[:0], protoItem), uint64(len(item)))
		if err := yield(head, item); err != nil {
			return err
		}
	}
	return nil
}

// envelope writes what Kubernetes puts around a message, the list's metadata, and by items so many bytes more.
func (l *podRecords) envelope(w io.Writer, size int, items func() error) error {
	metadata, err := l.ListMeta.Marshal()
	if err != nil {
		return err
	}
	head := append(binary.AppendUvarint([]byte{protoMeta}, uint64(len(metadata))), metadata...)
	if _, err := w.Write([]byte("k8s\x00")); err != nil {
		return err
	}
	around := runtime.Unknown{TypeMeta: runtime.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	_, err = around.MarshalToWriter(w, len(head)+size, func(w io.Writer) (int, error) {
		if _, err := w.Write(head); err != nil {
			return 0, err
		}
		return len(head) + size, items()
	})
	return err
}
