package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	internalscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/rest"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/peapod-sh/peapod/api"
)

// watching answers watches of one kind in their plainest form. A batch of changes goes from the cursor into one message by the handler's
// own goroutine: each event is bytes that all watches of its encoding share, with their frame. Apiserver's handler, to which all that is not
// plain is left, takes a goroutine, a channel and a dozen writers for each event.
type watching struct {
	store   rest.Watcher
	codecs  runtime.NegotiatedSerializer
	version schema.GroupVersion
	forms   map[string]*watchForm // by media type
}

// watchForm is how events are written.
type watchForm struct {
	media  string
	object runtime.Encoder
	event  runtime.Encoder
	framer runtime.Framer
}

// plainWatch in a context wants a watcher that does not run by itself.
type plainWatch struct{}

// watchMessageMax is how much of a batch is written together.
const watchMessageMax = 32 << 10

// watchParameters are those that a plain watch may have.
var watchParameters = map[string]bool{"watch": true, "resourceVersion": true, "resourceVersionMatch": true, "allowWatchBookmarks": true,
	"sendInitialEvents": true, "timeoutSeconds": true, "labelSelector": true}

// newWatching is nil for a storage that cannot be watched.
func newWatching(store any, codecs runtime.NegotiatedSerializer, gv schema.GroupVersion) *watching {
	watcher, ok := store.(rest.Watcher)
	if !ok {
		return nil
	}
	out := &watching{watcher, codecs, gv, map[string]*watchForm{}}
	for _, info := range codecs.SupportedMediaTypes() {
		form := &watchForm{media: info.MediaType, object: codecs.EncoderForVersion(info.Serializer, gv)}
		switch info.MediaType {
		case jsonMedia:
		case protobufMedia:
			form.media += ";stream=watch"
		default:
			continue
		}
		form.event, form.framer = codecs.EncoderForVersion(info.StreamSerializer.Serializer, gv), info.StreamSerializer.Framer
		out.forms[info.MediaType] = form
	}
	return out
}

// serve returns false, with nothing done, if a request is not plain.
func (p *watching) serve(w http.ResponseWriter, r *http.Request, namespace string) bool {
	form := p.forms[acceptedStream(r.Header)]
	flusher, flushes := w.(http.Flusher)
	if form == nil || !flushes || r.Header.Get("Upgrade") != "" {
		return false
	}
	opts, ok := watchOptions(r)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(request.WithNamespace(r.Context(), namespace), watchTime(opts))
	defer cancel()
	found, err := p.store.Watch(context.WithValue(ctx, plainWatch{}, true), opts)
	if err != nil {
		responsewriters.ErrorNegotiated(err, p.codecs, p.version, w, r)
		return true
	}
	source, ok := found.(*watcher)
	if !ok {
		found.Stop()
		return false
	}
	m := &messages{form: form, w: w, flusher: flusher, conn: corkOf(r), slow: source.s.slow}
	m.patience = time.AfterFunc(m.slow, func() { cutOff(ctx) })
	defer m.patience.Stop()
	h := w.Header()
	h.Set("Content-Type", form.media)
	h.Set("Transfer-Encoding", "chunked")
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	m.patience.Stop()
	source.to = m
	source.run()
	m.release()
	return true
}

// acceptedStream is accepted for a watch, where the media type may say that it is one.
func acceptedStream(h http.Header) string {
	list := h["Accept"]
	if len(list) != 1 || !strings.Contains(list[0], ";stream=watch") {
		return accepted(h)
	}
	return accepted(http.Header{"Accept": {strings.ReplaceAll(list[0], ";stream=watch", "")}})
}

func watchOptions(r *http.Request) (*internalversion.ListOptions, bool) {
	query := r.URL.Query()
	for name := range query {
		if !watchParameters[name] {
			return nil, false
		}
	}
	opts := &internalversion.ListOptions{}
	if internalscheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, opts) != nil || !opts.Watch {
		return nil, false
	}
	lists := utilfeature.DefaultFeatureGate.Enabled(features.WatchList)
	internalversion.SetListOptionsDefaults(opts, lists)
	if opts.SendInitialEvents != nil && *opts.SendInitialEvents && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		return nil, false // apiserver compresses it
	}
	return opts, len(validation.ValidateListOptions(opts, lists)) == 0
}

// watchTime is how long a watch lives: as its client wants, or about three quarters of an hour, since all should not end at once.
func watchTime(opts *internalversion.ListOptions) time.Duration {
	if opts.TimeoutSeconds != nil && *opts.TimeoutSeconds != 0 {
		return time.Duration(*opts.TimeoutSeconds) * time.Second
	}
	return time.Duration(float64(watchTimeoutMin) * (1 + rand.Float64())) // #nosec G404 -- no secret
}

// messages writes a watch's events to its client.
type messages struct {
	form     *watchForm
	w        http.ResponseWriter
	flusher  http.Flusher
	conn     *corkConn // nil if it is shared
	slow     time.Duration
	patience *time.Timer   // runs while something is written, and then cuts the client off
	pending  *bytes.Buffer // nil while there is nothing, since most watches are silent most of the time
	failed   bool
}

var _ taker = (*messages)(nil)

// formed is a key of what is kept with a change.
type formed struct {
	form *watchForm
	t    watch.EventType
}

func (m *messages) change(t watch.EventType, c *api.Change) bool {
	key := formed{m.form, t}
	v, ok := c.Shared().Load(key)
	if !ok {
		v, _ = c.Shared().LoadOrStore(key, &encoding{})
	}
	e := v.(*encoding)
	e.once.Do(func() {
		var b bytes.Buffer
		e.err = m.form.write(t, (&event{change: c}).object(), &b)
		e.raw = b.Bytes()
	})
	if e.err != nil {
		return m.fail()
	}
	return m.add(e.raw)
}

func (m *messages) object(t watch.EventType, o runtime.Object) bool {
	var b bytes.Buffer
	if m.form.write(t, o, &b) != nil {
		return m.fail()
	}
	return m.add(b.Bytes())
}

// write writes an event in its frame.
func (f *watchForm) write(t watch.EventType, o runtime.Object, b *bytes.Buffer) error {
	var inner, outer bytes.Buffer
	if err := encode(f.object, o, &inner); err != nil {
		return fmt.Errorf("encoding a watch's object: %w", err)
	}
	if err := encode(f.event, &metav1.WatchEvent{Type: string(t), Object: runtime.RawExtension{Raw: inner.Bytes()}}, &outer); err != nil {
		return fmt.Errorf("encoding a watch's event: %w", err)
	}
	_, err := f.framer.NewFrameWriter(b).Write(outer.Bytes())
	return err
}

func (m *messages) add(event []byte) bool {
	if m.pending == nil {
		m.pending = messageBuffers.Get().(*bytes.Buffer)
	}
	if m.pending.Len() > 0 && m.pending.Len()+len(event) > watchMessageMax && !m.send(false) {
		return false
	}
	m.pending.Write(event)
	return true
}

// send hands over what is pending, and with now has it leave. Who does not take it for long is cut off, since a watch that waits keeps old
// objects in memory; it can list again.
func (m *messages) send(now bool) bool {
	m.patience.Reset(m.slow)
	defer m.patience.Stop()
	if m.conn != nil && now {
		m.conn.cork()
	}
	_, err := m.w.Write(m.pending.Bytes())
	m.pending.Reset()
	if now && err == nil {
		m.flusher.Flush()
	}
	if m.conn != nil && now {
		err = errors.Join(err, m.conn.uncork())
	}
	return err == nil || m.fail()
}

func (m *messages) flush() bool {
	if m.failed || m.pending == nil {
		return !m.failed
	}
	defer m.release()
	return m.send(true)
}

func (m *messages) fail() bool {
	m.failed = true
	return false
}

func (m *messages) release() {
	if m.pending == nil {
		return
	}
	releaseMessage(m.pending)
	m.pending = nil
}

func releaseMessage(b *bytes.Buffer) {
	if b.Cap() <= 2*watchMessageMax {
		b.Reset()
		messageBuffers.Put(b)
	}
}

var messageBuffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}
