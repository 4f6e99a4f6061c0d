package kube_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

const (
	asJSON  = "application/json"
	asYAML  = "application/yaml"
	asProto = "application/vnd.kubernetes.protobuf"
)

// fuzzed is a server whose every request is the administrator's.
type fuzzed struct {
	store   *kubetest.Store
	server  *kube.Server
	handler http.Handler
}

func newFuzzed(t testing.TB) *fuzzed {
	t.Helper()
	admin := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}}, true, nil
	})
	f := &fuzzed{store: kubetest.New()}
	s, err := kube.New(kube.Config{Store: f.store, ServiceCIDR: netip.MustParsePrefix("10.96.0.0/24"), Authenticators: []authenticator.Request{admin}})
	if err != nil {
		t.Fatal(err)
	}
	f.server, f.handler = s, s.Handler()
	return f
}

// reset brings the state back to a namespace with some objects in it.
func (f *fuzzed) reset(t testing.TB) {
	t.Helper()
	f.store.Reset()
	meta := metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "0-1", Labels: map[string]string{"l": "x"}}
	put := func(resource string, o runtime.Object) ops.Op {
		api.Scheme.Default(o)
		return &ops.Put{Resource: schema.GroupResource{Resource: resource}, Object: o}
	}
	_, err := f.store.Propose(context.Background(),
		put("namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "0-2"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}}),
		put("serviceaccounts", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default", UID: "0-3"}}),
		put("configmaps", &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"k": "v"}}),
		put("secrets", &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"k": []byte("v")}}),
		put("pods", &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}),
		put("nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "0-4"}}))
	if err != nil {
		t.Fatal(err)
	}
}

// answer is a recorder that ends a watch as soon as it has begun: its client goes away.
type answer struct {
	*httptest.ResponseRecorder
	leave func()
}

func (a answer) Flush() { a.leave() }

// CloseNotify is what apiserver's wrappers want of a writer before they let it flush.
func (a answer) CloseNotify() <-chan bool { return nil }

func (f *fuzzed) serve(r *http.Request) *httptest.ResponseRecorder {
	ctx, leave := context.WithTimeout(context.Background(), 5*time.Second)
	defer leave()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(answer{w, leave}, r.WithContext(ctx))
	return w
}

// request is nil if no client could send it.
func request(method, target, contentType, accept string, body []byte) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") {
		return nil
	}
	r, err := http.NewRequest(method, "/", bytes.NewReader(body))
	if err != nil {
		return nil
	}
	r.URL, r.RequestURI = u, target
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Accept", accept)
	return r
}

// status reads the Status that an answer must be, in whichever form it was asked for.
func status(w *httptest.ResponseRecorder) (*metav1.Status, error) {
	s := &metav1.Status{}
	b := w.Body.Bytes()
	switch kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";"); kind {
	case asJSON:
		return s, json.Unmarshal(b, s)
	case asYAML:
		return s, yaml.Unmarshal(b, s)
	case asProto:
		o, _, err := api.Codecs.UniversalDeserializer().Decode(b, nil, s)
		if err == nil && o != runtime.Object(s) {
			err = fmt.Errorf("it is a %T", o)
		}
		return s, err
	default:
		return nil, fmt.Errorf("it is %q", kind)
	}
}

// accepted is what was created, as it is read, written back as it was read, and read again: it must be the same.
func (f *fuzzed) accepted(t *testing.T, made *url.URL, body []byte) {
	o := &metav1.PartialObjectMetadata{}
	if json.Unmarshal(body, o) != nil || o.UID == "" || o.DeletionTimestamp != nil || strings.Count(made.Path, "/") > 6 {
		return // a review, a token, a binding, or an object that goes at once
	}
	at := path.Join(made.Path, o.Name)
	get := func() []byte {
		w := f.serve(request("GET", at, "", asJSON, nil))
		if w.Code != http.StatusOK {
			t.Fatalf("what was created at %s is read with %d %s", at, w.Code, w.Body)
		}
		return w.Body.Bytes()
	}
	first := get()
	if w := f.serve(request("PUT", at, asJSON, asJSON, first)); w.Code != http.StatusOK {
		t.Fatalf("what was read at %s is refused when it is written: %d %s\n%s", at, w.Code, w.Body, first)
	}
	if second := get(); !bytes.Equal(first, second) {
		t.Fatalf("writing what was read changes it at %s\n%s\n%s", at, first, second)
	}
}

// untyped is apiserver's complaint of an applied object that does not fit its schema. It comes as a 500, from Kubernetes too: the library
// drops the kind of the error before anybody else sees it.
const untyped = "failed to create typed patch object"

// document tells of paths with words of their own, which Kubernetes also answers in plain text.
func document(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.Contains([]string{"openapi", "healthz", "livez", "readyz"}, first)
}

// FuzzAPI: whatever a client asks for, it gets an answer that it understands, never the server's fault. What is accepted is kept
// as it was shown.
// Invariant 68.
func FuzzAPI(f *testing.F) {
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
	for _, s := range apiSeeds(f) {
		f.Add(s.method, s.target, s.contentType, s.accept, s.body)
	}
	server := newFuzzed(f)
	f.Fuzz(func(t *testing.T, method uint8, target, contentType, accept string, body []byte) {
		r := request(methods[int(method)%len(methods)], target, contentType, accept, body)
		if r == nil {
			return
		}
		server.reset(t)
		w := server.serve(r)
		switch {
		case strings.HasPrefix(r.URL.Path, "/readyz"): // this server does not run, so it is not ready
		case w.Code == http.StatusInternalServerError && !strings.Contains(w.Body.String(), untyped):
			t.Fatalf("%s %s: %s", r.Method, target, w.Body)
		case w.Code >= 400 && !document(r.URL.Path):
			if s, err := status(w); r.Method != "HEAD" && (err != nil || int(s.Code) != w.Code || s.Status != metav1.StatusFailure || s.Message == "") {
				t.Fatalf("%s %s: %d is no Status: %v\n%q", r.Method, target, w.Code, err, w.Body)
			}
		case w.Code == http.StatusCreated && r.Method == "POST" && w.Header().Get("Content-Type") == asJSON && r.URL.Query().Get("dryRun") == "":
			server.accepted(t, r.URL, w.Body.Bytes())
		}
	})
}

type apiSeed struct {
	method              uint8
	target              string
	contentType, accept string
	body                []byte
}

const (
	get = iota
	post
	put
	patch
	del
)

func apiSeeds(t testing.TB) []apiSeed {
	cm := "/api/v1/namespaces/default/configmaps"
	seeds := []apiSeed{
		{get, "/", "", asJSON, nil},
		{get, "/api", "", asJSON + ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", nil},
		{get, "/openapi/v3/apis/apps/v1", "", asJSON, nil},
		{get, "/openapi/v3/", "", asJSON, nil},
		{get, "/openapi/v2", "", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", nil},
		{get, "/version", "", "*/*", nil}, {get, "/readyz?verbose&exclude=x", "", "", nil},
		{get, "/no/such/path", "", asProto, nil},
		{patch, "/api//watch", asJSON, asJSON, nil},
		{get, "//api/v1/../v1/./configmaps", "", asYAML, nil},
		{get, "/api/v1/watch/namespaces/default/configmaps/a", "", asJSON, nil},
		{get, cm + "?watch=1&resourceVersion=1&timeoutSeconds=1&allowWatchBookmarks=true", "", asProto + ";stream=watch", nil},
		{get, cm + "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1", "", asJSON, nil},
		{get, cm + "?limit=1&labelSelector=l+in+(x,y),!z&fieldSelector=metadata.name!%3Db", "", asJSON + ";as=Table;v=v1;g=meta.k8s.io", nil},
		{get, cm + "?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Nywic3RhcnQiOiJkZWZhdWx0L2FcdTAwMDAifQ", "", asJSON, nil},
		{get, cm + "/a?resourceVersion=0", "", asJSON + ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io", nil},
		{get, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn,status.phase%3DRunning", "", "application/cbor", nil},
		{get, "/api/v1/namespaces/default/pods/a/log?tailLines=1&sinceTime=2026-01-01T00:00:00Z", "", asJSON, nil},
		{post, "/api/v1/namespaces/default/pods/a/exec?command=x&stdout=1", "", asJSON, nil},
		{post, "/api/v1/namespaces/default/pods/a/binding", asJSON, asJSON, []byte(`{"target":{"kind":"Node","name":"n"}}`)},
		{post, "/api/v1/namespaces/default/pods/a/eviction", asJSON, asJSON, []byte(`{"deleteOptions":{"gracePeriodSeconds":0}}`)},
		{post, "/api/v1/namespaces/default/serviceaccounts/default/token", asJSON, asJSON, []byte(`{"spec":{"audiences":["a"]}}`)},
		{post, "/apis/authorization.k8s.io/v1/subjectaccessreviews", asJSON, asJSON, []byte(`{"spec":{"user":"u","resourceAttributes":{"verb":"get"}}}`)},
		{post, cm + "?dryRun=All&fieldManager=m&fieldValidation=Strict", asJSON, asJSON, []byte(`{"metadata":{"generateName":"g-"},"data":{"a":"b"},"x":1}`)},
		{put, cm + "/a", asYAML, asYAML, []byte("metadata: {name: a, resourceVersion: '4'}\ndata: {a: \"b\"}\n")},
		{patch, cm + "/a", "application/json-patch+json", asJSON, []byte(`[{"op":"add","path":"/data/x","value":"y"},{"op":"test","path":"/data/k","value":"v"}]`)},
		{patch, cm + "/a", "application/merge-patch+json", asJSON, []byte(`{"data":{"k":null},"metadata":{"labels":{"a":"b"}}}`)},
		{patch, "/api/v1/namespaces/default/pods/a", "application/strategic-merge-patch+json", asJSON, []byte(`{"spec":{"containers":[{"name":"c","image":"j"},{"$patch":"delete","name":"d"}]}}`)},
		{patch, cm + "/b?fieldManager=m&force=true", "application/apply-patch+yaml", asJSON, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {a: b}\n")},
		{patch, cm + "/b?fieldManager=m", "application/apply-patch+yaml", asYAML, []byte(`{"apiVersion":"v1","kind":"ConfigMap","mztadata":{"name":"b"}}`)},
		{patch, "/api/v1/namespaces/default/pods/a/status", "application/strategic-merge-patch+json", asJSON, []byte(`{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`)},
		{del, cm + "/a", asJSON, asJSON, []byte(`{"preconditions":{"uid":"0-1"},"propagationPolicy":"Foreground"}`)},
		{del, cm + "?labelSelector=l%3Dx", asJSON, asJSON, nil},
		{patch, "/apis/apps/v1/namespaces/default/deployments/a/scale", "application/merge-patch+json", asJSON, []byte(`{"spec":{"replicas":3}}`)},
	}
	for _, k := range api.Kinds() {
		root := "/apis/" + k.GroupVersion.String()
		if k.GroupVersion.Group == "" {
			root = "/api/v1"
		}
		all := root + "/" + k.Resource
		if !k.ClusterScoped {
			root += "/namespaces/default"
		}
		o := k.New()
		o.GetObjectKind().SetGroupVersionKind(k.GroupVersion.WithKind(k.Name))
		kind := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"b"}}`, k.GroupVersion, k.Name)
		seeds = append(seeds, apiSeed{post, root + "/" + k.Resource, asJSON, asJSON, []byte(kind)},
			apiSeed{get, all + "?limit=2", "", asJSON + ";as=Table;v=v1;g=meta.k8s.io," + asJSON, nil},
			apiSeed{patch, root + "/" + k.Resource + "/b?fieldManager=m", "application/apply-patch+yaml", asYAML, []byte(kind)})
	}
	return append(seeds, manifestSeeds(t)...)
}

// manifestSeeds are the objects of the example files, in each of the forms that a body may have.
func manifestSeeds(t testing.TB) []apiSeed {
	files, err := filepath.Glob("../../jobspecs/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no example files", err)
	}
	var out []apiSeed
	for _, name := range files {
		b, err := os.ReadFile(name) // #nosec G304 -- our own examples
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(b), "\n---\n") {
			out = append(out, objectSeeds(t, []byte(doc))...)
		}
	}
	return out
}

func objectSeeds(t testing.TB, doc []byte) []apiSeed {
	b, err := yaml.YAMLToJSON(doc)
	if err != nil {
		t.Fatal(err)
	}
	o, gvk, err := api.Codecs.UniversalDeserializer().Decode(b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, ok := runtime.SerializerInfoForMediaType(api.Codecs.SupportedMediaTypes(), asProto)
	if !ok {
		t.Fatal("no protobuf")
	}
	o.GetObjectKind().SetGroupVersionKind(*gvk)
	var proto bytes.Buffer
	if err := info.Serializer.Encode(o, &proto); err != nil {
		t.Fatal(err)
	}
	root := "/apis/" + gvk.GroupVersion().String()
	if gvk.Group == "" {
		root = "/api/v1"
	}
	at := root + "/namespaces/default/" + strings.ToLower(gvk.Kind) + "s"
	return []apiSeed{{post, at, asJSON, asJSON, b}, {post, at, asYAML, asJSON, doc}, {post, at, asProto, asProto, proto.Bytes()}}
}
