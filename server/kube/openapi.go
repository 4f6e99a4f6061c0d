package kube

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	restful "github.com/emicklei/go-restful/v3"
	"github.com/munnerz/goautoneg"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"

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
// Kubernetes types and on the encoding, nothing else.
type openAPI struct {
	server *Server

	mu    sync.Mutex
	built map[string]*document // by path and media type
}

// document is an encoded OpenAPI document.
type document struct {
	gzipped []byte
	forget  *time.Timer
}

func (s *Server) installOpenAPI() {
	o := &openAPI{server: s, built: map[string]*document{}}
	mux := s.generic.Handler.NonGoRestfulMux
	mux.Handle(openAPIv2, http.HandlerFunc(o.serveV2))
	mux.Handle(openAPIv3, http.HandlerFunc(o.serveIndex))
	mux.HandlePrefix(openAPIv3+"/", http.HandlerFunc(o.serveV3))
}

// groups are the web services by the path that they serve, "api/v1" or "apis/apps/v1".
func (o *openAPI) groups() map[string]*restful.WebService {
	out := map[string]*restful.WebService{}
	for _, ws := range o.server.generic.Handler.GoRestfulContainer.RegisteredWebServices() {
		out[strings.Trim(ws.RootPath(), "/")] = ws
	}
	return out
}

// hash names the content of a group's document, or of the whole with group "".
func (o *openAPI) hash(group string) string {
	h := sha256.New()
	fmt.Fprintln(h, o.server.config.Version, typesVersion(), group)
	groups := o.groups()
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		if group == "" || g == group {
			for _, r := range groups[g].Routes() {
				fmt.Fprintln(h, r.Method, r.Path, r.Operation)
			}
		}
	}
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
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
	index := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for g := range o.groups() {
		index.Paths[g] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: hashedURL(g, o.hash(g))}
	}
	b, err := json.Marshal(index)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Etag", strconv.Quote(o.hash("")))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func hashedURL(group, hash string) string {
	u := url.URL{Path: openAPIv3 + "/" + group, RawQuery: url.Values{"hash": {hash}}.Encode()}
	return u.String()
}

func (o *openAPI) serveV3(w http.ResponseWriter, r *http.Request) {
	group := strings.TrimPrefix(r.URL.Path, openAPIv3+"/")
	ws := o.groups()[group]
	if ws == nil {
		http.NotFound(w, r)
		return
	}
	hash := o.hash(group)
	switch r.URL.Query().Get("hash") {
	case "":
	case hash:
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	default:
		http.Redirect(w, r, hashedURL(group, hash), http.StatusMovedPermanently)
		return
	}
	o.serve(w, r, group, hash, "v3", handler3.ToV3ProtoBinary, func() ([]byte, error) {
		cfg := server.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, apiopenapi.NewDefinitionNamer(api.Scheme))
		cfg.Info.Title, cfg.Info.Version = "Kubernetes", "v"+o.server.config.Version
		doc, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{ws}), cfg)
		if err != nil {
			return nil, err
		}
		return json.Marshal(doc)
	})
}

func (o *openAPI) serveV2(w http.ResponseWriter, r *http.Request) {
	o.serve(w, r, "", o.hash(""), "v2", handler.ToProtoBinary, func() ([]byte, error) {
		cfg := server.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, apiopenapi.NewDefinitionNamer(api.Scheme))
		cfg.Info.Title, cfg.Info.Version = "Kubernetes", "v"+o.server.config.Version
		all := o.server.generic.Handler.GoRestfulContainer.RegisteredWebServices()
		doc, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(all), cfg)
		if err != nil {
			return nil, err
		}
		return doc.MarshalJSON()
	})
}

// serve answers in the first media type that the client accepts.
func (o *openAPI) serve(w http.ResponseWriter, r *http.Request, group, hash, version string, toProto func([]byte) ([]byte, error), build func() ([]byte, error)) {
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
	doc, err := o.document(version+"/"+group+" "+media, func() ([]byte, error) {
		b, err := build()
		if err == nil && media != "application/json" {
			b, err = toProto(b)
		}
		return b, err
	})
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

// document gives the compressed document of a name, building it if it is not there. One is built
// at a time, which bounds the memory.
func (o *openAPI) document(name string, build func() ([]byte, error)) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.built[name]; d != nil {
		d.forget.Reset(openAPIKeep)
		return d.gzipped, nil
	}
	plain, err := build()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(plain); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	o.built[name] = &document{gzipped: b.Bytes(), forget: time.AfterFunc(openAPIKeep, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.built, name)
	})}
	return b.Bytes(), nil
}

func writeGzipped(w http.ResponseWriter, r *http.Request, gzipped []byte) {
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(len(gzipped)))
		_, _ = w.Write(gzipped) // a client that went away is not our failure
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(gzipped))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(w, z)
}
