package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	reviewv1 "k8s.io/api/admission/v1"
	reviewv1beta1 "k8s.io/api/admission/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/rest"
)

// written is the objects of a request in one version, with what is written of them in reviews: that is the same for every webhook that is
// asked about them.
type written struct {
	*admission.VersionedAttributes
	of           runtime.Object // that object is of
	object       []byte         // nil until somebody asks
	old, options []byte
	oldOf        runtime.Object
}

// write writes what has changed since it was last written. It must not be called by several at once.
func (w *written) write() (err error) {
	if of := w.VersionedObject.Object(); w.object == nil || w.of != of {
		if w.object, err = json.Marshal(of); err != nil {
			return err
		}
		w.of = of
	}
	if of := w.VersionedOldObject.Object(); w.old == nil || w.oldOf != of {
		if w.old, err = json.Marshal(of); err != nil {
			return err
		}
		w.oldOf = of
	}
	if w.options == nil {
		w.options, err = json.Marshal(w.GetOperationOptions())
	}
	return err
}

// review puts the review that a request is together around the objects, which have been written, as the library would write it; nil if it cannot.
func (w *written) review(request runtime.Object) []byte {
	if w.object == nil || w.old == nil || w.options == nil {
		return nil
	}
	var none runtime.RawExtension
	switch r := request.(type) {
	case *reviewv1.AdmissionReview:
		r = &reviewv1.AdmissionReview{Request: new(*r.Request)}
		r.SetGroupVersionKind(reviewv1.SchemeGroupVersion.WithKind(reviewKind))
		r.Request.Object, r.Request.OldObject, r.Request.Options, request = none, none, none, r
	case *reviewv1beta1.AdmissionReview:
		r = &reviewv1beta1.AdmissionReview{Request: new(*r.Request)}
		r.SetGroupVersionKind(reviewv1beta1.SchemeGroupVersion.WithKind(reviewKind))
		r.Request.Object, r.Request.OldObject, r.Request.Options, request = none, none, none, r
	}
	text, err := json.Marshal(request)
	dry := strconv.FormatBool(w.IsDryRun())
	head, ok := bytes.CutSuffix(text, []byte(`"object":null,"oldObject":null,"dryRun":`+dry+`,"options":null}}`)) // the last members of a request
	if err != nil || !ok {
		return nil
	}
	out := slices.Grow(head, len(w.object)+len(w.old)+len(w.options)+64)
	out = append(append(out, `"object":`...), w.object...)
	out = append(append(out, `,"oldObject":`...), w.old...)
	out = append(append(out, `,"dryRun":`+dry+`,"options":`...), w.options...)
	return append(out, "}}\n"...)
}

const reviewKind = "AdmissionReview"

// post sends a review and reads the answer. It asks over the library's client and its transport, but reads by itself the answers that
// webhooks usually give. What becomes of any other, and of a fault, it leaves to the library, as if that had asked: to ask again when the answer
// says so, and to word the error.
func post(ctx context.Context, client *rest.RESTClient, about *written, request, response runtime.Object) error {
	q := client.Post()
	text := about.review(request)
	if text == nil {
		q.Body(request)
	} else {
		q.SetHeader("Content-Type", runtime.ContentTypeJSON).Body(text)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 { // the webhook is told in whole seconds
			q.Timeout((left + time.Second - 1).Truncate(time.Second))
		}
	}
	if text != nil && client.Client != nil && ctx.Err() == nil {
		got := roundTrip(ctx, client.Client.Transport, q.URL().String(), text)
		if got.plain() && got.read(response) {
			return nil
		}
		if ctx.Err() != nil && got.final() {
			ctx = context.WithoutCancel(ctx) // since the library does not even begin when it is too late
		}
		ctx = context.WithValue(ctx, answerKey{}, got)
	}
	return q.Do(ctx).Into(response)
}

// answer is what has become of a review that was sent.
type answer struct {
	resp *http.Response
	err  error
	body []byte // of one that is plain
	told bool
}

type answerKey struct{}

func roundTrip(ctx context.Context, over http.RoundTripper, url string, text []byte) *answer {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return &answer{err: err}
	}
	r.Header = http.Header{"Content-Type": {runtime.ContentTypeJSON}, "Accept": {"application/json, */*"}}
	got := &answer{}
	got.resp, got.err = over.RoundTrip(r)
	return got
}

// final says whether the library will not ask again.
func (a *answer) final() bool { return a.err != nil || a.resp.StatusCode == http.StatusOK }

// plainTypes are what servers that know, and that guess, say of JSON.
var plainTypes = []string{"", runtime.ContentTypeJSON, "application/json; charset=utf-8", "text/plain; charset=utf-8"}

// plain reads the answer's body if nothing is unusual about what comes before it.
func (a *answer) plain() bool {
	if a.err != nil || a.resp.StatusCode != http.StatusOK || a.resp.Header.Get("Warning") != "" || !slices.Contains(plainTypes, a.resp.Header.Get("Content-Type")) {
		return false
	}
	body, err := io.ReadAll(a.resp.Body)
	a.resp.Body.Close()
	a.body = body
	if err != nil {
		a.resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), broken{err}))
		return false
	}
	a.resp.Body = io.NopCloser(bytes.NewReader(body))
	return true
}

// broken is the end of an answer that could not be read.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// read reads a review of the version that was asked for. Whatever else the body is, it leaves response as it was.
func (a *answer) read(response runtime.Object) bool {
	switch r := response.(type) {
	case *reviewv1.AdmissionReview:
		return readReview(a.body, r, reviewv1.SchemeGroupVersion)
	case *reviewv1beta1.AdmissionReview:
		return readReview(a.body, r, reviewv1beta1.SchemeGroupVersion)
	}
	return false
}

func readReview[T any, P interface {
	*T
	runtime.Object
}](body []byte, into P, gv schema.GroupVersion) bool {
	var fresh T
	if utiljson.Unmarshal(body, &fresh) != nil || P(&fresh).GetObjectKind().GroupVersionKind() != gv.WithKind(reviewKind) {
		return false
	}
	*into = fresh
	return true
}

// retelling gives the library what has become of a review, once, in place of sending it again.
type retelling struct{ next http.RoundTripper }

func (t retelling) RoundTrip(r *http.Request) (*http.Response, error) {
	if got, ok := r.Context().Value(answerKey{}).(*answer); ok && !got.told {
		got.told = true
		return got.resp, got.err
	}
	return t.next.RoundTrip(r)
}
