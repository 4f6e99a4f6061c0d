package kube

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/peapod-sh/peapod/api"
)

// creation answers requests that create an object of one kind in their plainest form, for a third of what apiserver's handler costs: it
// starts no goroutine, records no trace, negotiates nothing and does not compute managed fields with the library. Whatever is not plain, and
// every fault in what the client sent, it leaves to that handler, which reads the body again: until the object is admitted nothing has
// happened that needs to be taken back.
type creation struct {
	kind     schema.GroupVersionKind
	resource schema.GroupVersionResource
	root     string // of its paths, before a namespace or the resource
	global   bool   // not in namespaces
	store    rest.Creater
	admit    chain
	codecs   runtime.NegotiatedSerializer
	media    map[string]medium
	form     form
	objects  admission.ObjectInterfaces // nil for those of the table's kinds
	owner    *creator                   // nil for a custom resource
	watching *watching                  // nil if the kind cannot be watched
}

// form is what a kind's objects are made of: structs, or maps.
type form interface {
	// decode reads the object and does to it what needs no decision. It is false if anything about the object is unusual.
	decode(q *creating, body []byte) bool
	// encode writes what was created.
	encode(q *creating, obj runtime.Object, b *bytes.Buffer) error
}

// medium is an encoding of objects.
type medium struct {
	decoder runtime.Decoder // strict, since what it refuses is looked at again
	encoder runtime.Encoder
}

const (
	jsonMedia     = "application/json"
	protobufMedia = "application/vnd.kubernetes.protobuf"

	// createTimeout is apiserver's bound for one creation, below that of the request.
	createTimeout = 34 * time.Second
	// compressedFrom is from which size on apiserver compresses an answer for clients that like that.
	compressedFrom = 128 << 10
	// pooledBufferMax keeps the buffers of rare large objects out of the pool.
	pooledBufferMax = 64 << 10
)

// creations are the kinds' by their resource.
type creations map[schema.GroupVersionResource]*creation

func newCreations(groups map[schema.GroupVersion]served, admit chain, codecs runtime.NegotiatedSerializer, types lazyTypes) creations {
	out := creations{}
	for _, k := range api.Kinds() {
		store, ok := groups[k.GroupVersion][k.Resource].(rest.Creater)
		_, old := k.New().(interface{ APILifecycleDeprecated() (major, minor int) }) // for which apiserver warns
		if !ok || old || k.GroupResource() == namespacesResource {                   // a namespace is created in itself
			continue
		}
		c := &creation{kind: k.GroupVersionKind(), resource: k.GroupVersion.WithResource(k.Resource), root: "/apis/" + k.GroupVersion.String() + "/", global: k.ClusterScoped,
			store: store, admit: admit, codecs: codecs, media: map[string]medium{}, form: structs{}, owner: newCreator(k, store, types), watching: newWatching(store, codecs, k.GroupVersion)}
		if k.GroupVersion.Group == "" {
			c.root = "/api/" + k.GroupVersion.Version + "/"
		}
		for _, info := range codecs.SupportedMediaTypes() {
			if info.MediaType == jsonMedia || info.MediaType == protobufMedia {
				c.media[info.MediaType] = medium{
					codecs.DecoderToVersion(info.StrictSerializer, schema.GroupVersion{Group: k.GroupVersion.Group, Version: runtime.APIVersionInternal}),
					codecs.EncoderForVersion(info.Serializer, k.GroupVersion)}
			}
		}
		out[c.resource] = c
	}
	return out
}

// withPlain answers what a creation or a plain watch can, and leaves the rest to h.
func (s *Server) withPlain(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if ok && info.IsResourceRequest && info.Subresource == "" && info.Name == "" && s.servePlain(w, r, info) {
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) servePlain(w http.ResponseWriter, r *http.Request, info *request.RequestInfo) bool {
	c := s.creations[schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}]
	switch {
	case c == nil:
		return info.Verb == "create" && r.Method == http.MethodPost && !recorded(r) && s.customCreations.serve(w, r, info)
	case info.Verb == "create" && r.Method == http.MethodPost && !recorded(r):
		return c.serve(w, r, info.Namespace)
	case info.Verb == "watch" && r.Method == http.MethodGet && c.watching != nil:
		return (c.at(r.URL.Path, info.Namespace) || r.URL.Path == c.root+c.resource.Resource) && c.watching.serve(w, r, info.Namespace)
	}
	return false
}

// recorded says whether the audit log gets what is in a request, which apiserver's handler gives it.
func recorded(r *http.Request) bool {
	level := audit.AuditContextFrom(r.Context()).GetEventLevel()
	return level == auditinternal.LevelRequest || level == auditinternal.LevelRequestResponse
}

// creating is one request for a creation.
type creating struct {
	*creation
	in, out   string // media types
	namespace string
	manager   string // of the fields
	options   *metav1.CreateOptions
	obj       runtime.Object
	stored    *api.Document // what is stored of a custom resource
}

// serve returns false if it has done nothing but read the body, which it gives back.
func (c *creation) serve(w http.ResponseWriter, r *http.Request, namespace string) bool {
	q, ok := c.plain(r, namespace)
	if !ok {
		return false
	}
	body := buffers.Get().(*bytes.Buffer)
	defer release(body)
	if _, err := body.ReadFrom(r.Body); err != nil {
		giveBack(r, body.Bytes(), err)
		return false
	}
	if body.Len() > requestBodyMax || !q.form.decode(q, body.Bytes()) {
		giveBack(r, body.Bytes(), io.EOF)
		return false
	}
	ctx, cancel := context.WithTimeout(request.WithNamespace(r.Context(), namespace), createTimeout)
	defer cancel()
	if c.owner == nil {
		ctx = context.WithValue(ctx, storedSlot{}, &q.stored)
	}
	result, err := q.create(ctx)
	if err == nil {
		err = q.answer(w, r, result)
	}
	if err != nil {
		responsewriters.ErrorNegotiated(err, c.codecs, c.kind.GroupVersion(), w, r)
	}
	return true
}

// plain reads the head of a request. It is false unless everything in it is known and usual.
func (c *creation) plain(r *http.Request, namespace string) (*creating, bool) {
	agent := r.UserAgent()
	q := &creating{creation: c, namespace: namespace, in: r.Header.Get("Content-Type"), out: accepted(r.Header), options: plainOptions}
	_, reads := c.media[q.in]
	_, writes := c.media[q.out]
	if !c.at(r.URL.Path, namespace) || !reads || !writes || r.ContentLength < 0 || r.ContentLength > requestBodyMax || likesPretty(agent) {
		return nil, false
	}
	q.manager, _, _ = strings.Cut(agent, "/")
	if r.URL.RawQuery != "" && !q.readOptions(r.URL.RawQuery) {
		return nil, false
	}
	return q, plainManager(q.manager)
}

// at says whether a path is exactly that of the kind's objects in a namespace.
func (c *creation) at(path, namespace string) bool {
	rest, ok := strings.CutPrefix(path, c.root)
	if ok && !c.global {
		rest, ok = strings.CutPrefix(rest, "namespaces/")
		if ok {
			rest, ok = strings.CutPrefix(rest, namespace+"/")
		}
	}
	return ok && rest == c.resource.Resource && c.global == (namespace == "")
}

// readOptions knows what kubectl says.
func (q *creating) readOptions(query string) bool {
	o := *plainOptions
	for part := range strings.SplitSeq(query, "&") {
		name, text, _ := strings.Cut(part, "=")
		switch {
		case name == "fieldManager" && o.FieldManager == "" && text != "":
			o.FieldManager, q.manager = text, text
		case name == "fieldValidation" && o.FieldValidation == "" && slices.Contains(fieldValidations, text):
			o.FieldValidation = text
		default:
			return false
		}
	}
	q.options = &o
	return true
}

// fieldValidations differ in what becomes of an object that is faulty.
var fieldValidations = []string{metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict}

var plainOptions = &metav1.CreateOptions{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "CreateOptions"}}

// accepted is the media type of the answer; "" if that takes a closer look.
func accepted(h http.Header) string {
	list := h["Accept"]
	if len(list) > 1 {
		return ""
	}
	if len(list) == 0 {
		return jsonMedia
	}
	switch list[0] {
	case protobufMedia, protobufMedia + "," + jsonMedia, protobufMedia + ", */*":
		return protobufMedia
	case jsonMedia, jsonMedia + ", */*", "*/*", "":
		return jsonMedia
	}
	return ""
}

// likesPretty tells of the programs for which apiserver indents JSON.
func likesPretty(agent string) bool {
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// plainManager tells of a manager's name that needs no cleaning: the rules for one cut it after 128 characters and want printable ones.
func plainManager(name string) bool {
	if name == "" || len(name) > 128 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// structs are the objects of the table's kinds.
type structs struct{}

func (structs) encode(q *creating, obj runtime.Object, b *bytes.Buffer) error {
	return encode(q.media[q.out].encoder, obj, b)
}

func (structs) decode(q *creating, body []byte) bool {
	obj, kind, err := q.media[q.in].decoder.Decode(body, &q.kind, q.store.New())
	if err != nil || *kind != q.kind {
		return false
	}
	m, err := meta.Accessor(obj)
	q.obj = obj
	return err == nil && q.begin(m) && q.owner.own(obj, m, q.manager)
}

// begin makes the metadata that of a new object. It is false if anything there is unusual.
func (q *creating) begin(m metav1.Object) bool {
	if m.GetManagedFields() != nil || len(m.GetOwnerReferences()) > 1 { // which are made distinct
		return false
	}
	rest.WipeObjectMetaSystemFields(m)
	return rest.EnsureObjectNamespaceMatchesRequestNamespace(rest.ExpectedNamespaceForResource(q.namespace, q.resource), m) == nil
}

// create admits the object and stores it.
func (q *creating) create(ctx context.Context) (runtime.Object, error) {
	admit := admission.WithAudit(q.admit)
	if q.admit.hooks.MayChange() { // and may make managed fields that nobody can read
		admit = fieldmanager.NewManagedFieldsValidatingAdmissionController(admit)
	}
	if err := admit.(admission.MutationInterface).Admit(ctx, q.attributes(ctx, q.obj), q.objects); err != nil {
		return nil, err
	}
	validate := func(ctx context.Context, obj runtime.Object) error {
		return admit.(admission.ValidationInterface).Validate(ctx, q.attributes(ctx, obj), q.objects)
	}
	return q.store.Create(ctx, q.obj, validate, q.options)
}

func (q *creating) attributes(ctx context.Context, obj runtime.Object) admission.Attributes {
	user, _ := request.UserFrom(ctx)
	return admission.NewAttributesRecord(obj, nil, q.kind, q.namespace, accessor(obj).GetName(), q.resource, "", admission.Create, q.options, false, user)
}

// answer writes the object. An error means that nothing was written.
func (q *creating) answer(w http.ResponseWriter, r *http.Request, obj runtime.Object) error {
	b := buffers.Get().(*bytes.Buffer)
	defer release(b)
	if err := q.form.encode(q, obj, b); err != nil {
		return err
	}
	if b.Len() > compressedFrom && r.Header.Get("Accept-Encoding") != "" {
		responsewriters.WriteObjectNegotiated(q.codecs, negotiation.DefaultEndpointRestrictions, q.kind.GroupVersion(), w, r, http.StatusCreated, obj, false)
		return nil
	}
	h := w.Header()
	h["Content-Type"] = []string{q.out}
	h["Content-Length"] = []string{strconv.Itoa(b.Len())}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(b.Bytes()) // whoever is gone needs no answer
	return nil
}

// encode uses memory of the pool that apiserver's own answers use, where an encoder can.
func encode(e runtime.Encoder, obj runtime.Object, b *bytes.Buffer) error {
	pooled, ok := e.(runtime.EncoderWithAllocator)
	if !ok {
		return e.Encode(obj, b)
	}
	a := runtime.AllocatorPool.Get().(*runtime.Allocator)
	defer runtime.AllocatorPool.Put(a)
	return pooled.EncodeWithAllocator(obj, b, a)
}

// giveBack makes a body readable from its beginning again, up to the error that ended its reading.
func giveBack(r *http.Request, read []byte, err error) {
	r.Body = again{io.MultiReader(bytes.NewReader(bytes.Clone(read)), failed{err}), r.Body}
}

type again struct {
	io.Reader
	io.Closer
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

func release(b *bytes.Buffer) {
	if b.Cap() <= pooledBufferMax {
		b.Reset()
		buffers.Put(b)
	}
}
