package kube

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	restful "github.com/emicklei/go-restful/v3"
	"github.com/munnerz/goautoneg"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	crdopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/openapi"
)

const (
	openAPIv2 = "/openapi/v2"
	openAPIv3 = "/openapi/v3"
)

// openAPI serves the OpenAPI documents. A document costs much memory and is wanted seldom, so it
// is built when asked for, kept compressed, and forgotten after a while without use. Its hash, which clients
// cache by, is made without building it: a document depends on the routes, on the version of the
// Kubernetes types and on the encoding, and that of custom resources on their definitions; on nothing else.
type openAPI struct {
	server *Server
	// changes counts what happened to definitions of custom resources, and to what services serve.
	changes atomic.Uint64

	mu    sync.Mutex
	built map[string]*document // by path and media type

	building [2]sync.Mutex // held while a document of version 3, of version 2 is built
	base     *swaggerBase  // of what is not custom; kept by building[1]
	swagger  customSwagger
	ahead    *time.Timer // runs out some time after a change

	partsMu sync.Mutex
	fixed   map[string]openAPIPart // of the handlers, which stay
	parts   *openAPIParts
}

// openAPIPart is one group version, or another path with handlers.
type openAPIPart struct {
	hash   string
	v3     func() (*spec3.OpenAPI, error)
	pieces func(was *groupText) (*groupText, error) // gives the same as text, or no parts; nil if it is not of custom resources
}

// openAPIParts are all parts, by the path that they serve, "api/v1" or "apis/apps/v1".
type openAPIParts struct {
	changes uint64 // that they are of
	by      map[string]openAPIPart
	hash    string          // of all together
	index   []byte          // JSON
	fixed   string          // hash of what is not custom
	others  map[string]bool // the paths that services have
	custom  []*apiextensionsv1.CustomResourceDefinition
}

// document is an encoded OpenAPI document.
type document struct {
	hash   string
	text   *gzipped
	group  *groupText // that it was made of, nil if it was made as a whole
	forget *time.Timer
}

func (s *Server) installOpenAPI() error {
	o := s.openAPI
	o.ahead = time.AfterFunc(openAPIAhead, o.buildAhead)
	o.ahead.Stop()
	count := func(any) {
		o.changes.Add(1)
		o.ahead.Reset(openAPIAhead)
	}
	if _, err := s.custom.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: count, DeleteFunc: count,
		UpdateFunc: func(was, now any) {
			if accessor(was.(runtime.Object)).GetResourceVersion() != accessor(now.(runtime.Object)).GetResourceVersion() { // not just told again
				count(now)
			}
		}}); err != nil {
		return err
	}
	mux := s.generic.Handler.NonGoRestfulMux
	mux.Handle(openAPIv2, http.HandlerFunc(o.serveV2))
	mux.Handle(openAPIv3, http.HandlerFunc(o.serveIndex))
	mux.HandlePrefix(openAPIv3+"/", http.HandlerFunc(o.serveV3))
	return nil
}

// definitions of the types of a server's handlers, and what they are called.
type definitions struct {
	of     common.GetOpenAPIDefinitions
	scheme *runtime.Scheme
}

var (
	tableDefinitions = definitions{openapi.GetOpenAPIDefinitions, api.Scheme}
	crdDefinitions   = definitions{crdopenapi.GetOpenAPIDefinitions, crdserver.Scheme}
)

// handlers are the web services of both servers with their definitions.
func (o *openAPI) handlers(yield func([]*restful.WebService, definitions) bool) {
	if yield(o.server.generic.Handler.GoRestfulContainer.RegisteredWebServices(), tableDefinitions) {
		yield(o.server.custom.GenericAPIServer.Handler.GoRestfulContainer.RegisteredWebServices(), crdDefinitions)
	}
}

// fixedParts are made once: handlers do not change any more when the first request comes.
func (o *openAPI) fixedParts() map[string]openAPIPart {
	out := map[string]openAPIPart{}
	for services, types := range o.handlers {
		for _, ws := range services {
			path := strings.Trim(ws.RootPath(), "/")
			h := sha256.New()
			fmt.Fprintln(h, o.server.config.Version, typesVersion(), path)
			for _, r := range ws.Routes() {
				fmt.Fprintln(h, r.Method, r.Path, r.Operation)
			}
			out[path] = openAPIPart{hash: hashOf(h), v3: func() (*spec3.OpenAPI, error) {
				cfg := server.DefaultOpenAPIV3Config(types.of, apiopenapi.NewDefinitionNamer(types.scheme))
				cfg.Info.Title, cfg.Info.Version = "Kubernetes", "v"+o.server.config.Version
				return builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{ws}), cfg)
			}}
		}
	}
	return out
}

func hashOf(h hash.Hash) string { return strings.ToUpper(hex.EncodeToString(h.Sum(nil))) }

func hashOfParts(by map[string]openAPIPart) string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(by)) {
		fmt.Fprintln(h, path, by[path].hash)
	}
	return hashOf(h)
}

// current makes the parts anew if a definition has changed.
func (o *openAPI) current() (*openAPIParts, error) {
	o.partsMu.Lock()
	defer o.partsMu.Unlock()
	changes := o.changes.Load()
	if o.parts != nil && o.parts.changes == changes {
		return o.parts, nil
	}
	if o.fixed == nil {
		o.fixed = o.fixedParts()
	}
	p := &openAPIParts{changes: changes, by: maps.Clone(o.fixed), others: map[string]bool{}, custom: o.server.custom.established()}
	others := o.server.aggregation.Parts()
	for _, part := range others {
		p.by[part.Path], p.others[part.Path] = openAPIPart{hash: part.Hash, v3: part.V3}, true
	}
	p.fixed = hashOfParts(p.by)
	maps.Copy(p.by, customParts(p.custom))
	for _, part := range others {
		p.by[part.Path] = openAPIPart{hash: part.Hash, v3: part.V3}
	}
	p.hash = hashOfParts(p.by)
	index := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for _, path := range slices.Sorted(maps.Keys(p.by)) {
		index.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: hashedURL(path, p.by[path].hash)}
	}
	var err error
	p.index, err = json.Marshal(index)
	o.parts = p
	return p, err
}

// typesVersion is the version of the module that the schemas are made from.
var typesVersion = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "k8s.io/api" {
				return d.Version
			}
		}
	}
	return "unknown"
})

// serveIndex lists the group versions' documents with their hashes.
func (o *openAPI) serveIndex(w http.ResponseWriter, r *http.Request) {
	p, err := o.current()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Etag", strconv.Quote(p.hash))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.index))
}

func hashedURL(group, hash string) string {
	u := url.URL{Path: openAPIv3 + "/" + group, RawQuery: url.Values{"hash": {hash}}.Encode()}
	return u.String()
}

func (o *openAPI) serveV3(w http.ResponseWriter, r *http.Request) {
	group := strings.TrimPrefix(r.URL.Path, openAPIv3+"/")
	all, err := o.current()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	part, ok := all.by[group]
	if !ok {
		http.NotFound(w, r)
		return
	}
	switch r.URL.Query().Get("hash") {
	case "":
	case part.hash:
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	default:
		http.Redirect(w, r, hashedURL(group, part.hash), http.StatusMovedPermanently)
		return
	}
	o.serve(w, r, group, part.hash, "v3", part.document)
}

// document is that of one part, in JSON of custom resources made of what there is of the document before.
func (p openAPIPart) document(proto bool, was *groupText) (*document, error) {
	if p.pieces != nil && !proto {
		g, err := p.pieces(was)
		if err != nil {
			return nil, err
		}
		if g.parts != nil {
			return &document{text: gzipOf(g.parts), group: g}, nil
		}
	}
	doc, err := p.v3()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(doc)
	if err == nil && proto {
		text, err = handler3.ToV3ProtoBinary(text)
	}
	if err != nil {
		return nil, err
	}
	whole, err := deflate(text)
	return &document{text: gzipOf([]deflated{whole})}, err
}

func (o *openAPI) serveV2(w http.ResponseWriter, r *http.Request) {
	all, err := o.current()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	o.serve(w, r, "", all.hash, "v2", func(proto bool, _ *groupText) (*document, error) {
		parts, err := o.wholeV2(all, proto)
		return &document{text: gzipOf(parts)}, err
	})
}

// serve answers in the first media type that the client accepts.
func (o *openAPI) serve(w http.ResponseWriter, r *http.Request, group, hash, version string, build func(proto bool, was *groupText) (*document, error)) {
	media := negotiate(r.Header.Get("Accept"), version)
	if media == "" {
		http.Error(w, "the OpenAPI documents are application/json or the gnostic protobuf", http.StatusNotAcceptable)
		return
	}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Etag", strconv.Quote(hash))
	if r.Header.Get("If-None-Match") == strconv.Quote(hash) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	doc, err := o.document(version+"/"+group+" "+media, hash, func(was *groupText) (*document, error) { return build(media != "application/json", was) })
	if err != nil {
		o.server.config.Logger.Error("building an OpenAPI document", "group", group, "error", err)
		http.Error(w, "building the OpenAPI document: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media)
	writeGzipped(w, r, doc)
}

// negotiate gives the Content-Type to answer with; "" if there is none.
func negotiate(accept, version string) string {
	if accept == "" {
		return "application/json"
	}
	proto := "application/com.github.proto-openapi.spec." + version + ".v1.0+protobuf"
	for _, c := range goautoneg.ParseAccept(accept) {
		if c.Type != "application" && c.Type != "*" {
			continue
		}
		switch c.SubType {
		case "json", "*":
			return "application/json"
		case "com.github.proto-openapi.spec." + version + ".v1.0+protobuf", "com.github.proto-openapi.spec." + version + "@v1.0+protobuf":
			return proto
		}
	}
	return ""
}

// document gives the compressed document of a name, building it if it is not there or of another hash. One of each version is built
// at a time, which bounds the memory; those that are there need not wait for it.
func (o *openAPI) document(name, hash string, build func(was *groupText) (*document, error)) (*gzipped, error) {
	if known := o.known(name, hash); known != nil {
		return known, nil
	}
	building := &o.building[0]
	if strings.HasPrefix(name, "v2") {
		building = &o.building[1]
	}
	building.Lock()
	defer building.Unlock()
	if known := o.known(name, hash); known != nil {
		return known, nil
	}
	d, err := build(o.groupOf(name))
	if err != nil {
		return nil, err
	}
	d.hash = hash
	o.remember(name, d)
	return d.text, nil
}

// known is the document of a name if it is of that hash, else nil.
func (o *openAPI) known(name, hash string) *gzipped {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.built[name]
	if d == nil || d.hash != hash {
		return nil
	}
	d.forget.Reset(openAPIKeep)
	return d.text
}

// groupOf is what the last document of a name was made of, nil if there is none.
func (o *openAPI) groupOf(name string) *groupText {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.built[name]; d != nil {
		return d.group
	}
	return nil
}

func (o *openAPI) remember(name string, d *document) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if old := o.built[name]; old != nil {
		old.forget.Stop()
	}
	d.forget = time.AfterFunc(openAPIKeep, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.built[name] == d {
			delete(o.built, name)
		}
	})
	o.built[name] = d
}

func writeGzipped(w http.ResponseWriter, r *http.Request, text *gzipped) {
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(text.length))
		_, _ = text.WriteTo(w) // a client that went away is not our failure
		return
	}
	for _, p := range text.parts {
		if _, err := io.Copy(w, flate.NewReader(p.reader())); err != nil {
			return
		}
	}
}
