package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	apidiscovery "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/dynamic"
	restclient "k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/rbac"
)

// Server serves the Kubernetes API.
type Server struct {
	config          Config
	generic         *server.GenericAPIServer
	accounts        *Accounts   // nil without tokens
	guard           *rbac.Guard // nil without a policy
	creations       creations   // made by install
	authenticator   authenticator.Request
	admission       chain
	types           lazyTypes     // made by install
	stopped         chan struct{} // closed when Run ends
	pods, nodes     *registry.Store
	custom          *customResources
	customCreations *customCreations
	ownDynamic      func() (dynamic.Interface, error) // reads through the server's own handlers
	aggregation     aggregation
	listed          *groupLister
	builtinGroups   map[string]metav1.APIGroup // made by install
	openAPI         *openAPI
	self            *loopback // for requests of its own
	flows           flows
}

// New makes a server. It serves at once through Handler; Run serves HTTPS.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	c.Store = seatedStore{c.Store}
	s := &Server{config: c, stopped: make(chan struct{}), builtinGroups: map[string]metav1.APIGroup{}}
	s.openAPI = &openAPI{server: s, built: map[string]*document{}, swagger: customSwagger{by: map[customVersion]*customPart{}}}
	s.newAggregation()
	if c.Tokens != nil {
		s.accounts = &Accounts{Store: c.Store, Issuer: c.Tokens, Now: time.Now}
	}
	if c.Policy != nil {
		s.authorizeBy(rbac.New(c.Policy))
	}
	s.authenticator = newAuthenticator(&s.config, s.accounts)
	cfg := s.genericConfig()
	if err := s.installAdmission(cfg); err != nil {
		return nil, err
	}
	s.self = &loopback{}
	if err := s.newFlows(); err != nil {
		return nil, err
	}
	s.ownDynamic = sync.OnceValues(func() (dynamic.Interface, error) { return newOwnDynamic(s.self) })
	nowhere := failing(cfg.Serializer, func(*http.Request) error {
		return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
	})
	var err error
	if s.custom, err = newCustomResources(*cfg, restOptions{c.Store, c.Limits.SlowReader}, s.self.config(), webhookWay{s}, nowhere); err != nil {
		return nil, err
	}
	if err := s.newCustomCreations(); err != nil {
		return nil, fmt.Errorf("making the plain way of custom resources: %w", err)
	}
	cfg.ReadyzChecks = append(cfg.ReadyzChecks, s.custom.HealthzChecks()...)
	generic, err := cfg.Complete(nil).New("peapod", withoutHealth{shallowBodies{s.custom.handlers}})
	if err != nil {
		return nil, fmt.Errorf("making the API server: %w", err)
	}
	s.generic, s.self.handler = generic, generic.Handler
	if err := s.install(cfg); err != nil {
		return nil, err
	}
	generic.Handler.GoRestfulContainer.Router(&router{})
	generic.PrepareRun()
	if err := s.installOpenAPI(); err != nil {
		return nil, fmt.Errorf("following custom resources: %w", err)
	}
	if err := s.listCustomGroups(); err != nil {
		return nil, fmt.Errorf("following the groups of custom resources: %w", err)
	}
	s.installTokenDiscovery()
	s.flows.control.Install(generic.Handler.NonGoRestfulMux)
	if c.Metrics != nil {
		generic.Handler.NonGoRestfulMux.Handle("/metrics", c.Metrics)
	}
	if c.WhatIf != nil {
		generic.Handler.NonGoRestfulMux.Handle("/peapod/plan", c.WhatIf)
	}
	return s, nil
}

func (s *Server) genericConfig() *server.Config {
	cfg := server.NewConfig(api.Codecs)
	cfg.EffectiveVersion = newServedVersion(s.config.Version)
	cfg.ExternalAddress = s.config.Address
	cfg.LoopbackClientConfig = &restclient.Config{}
	cfg.Authentication.Authenticator = ownRequests{s.authenticator}
	cfg.Authorization.Authorizer = s.config.Authorizer
	cfg.LongRunningFunc = longRunning
	cfg.RequestTimeout = s.config.Limits.Request
	cfg.MaxRequestBodyBytes = requestBodyMax
	cfg.BuildHandlerChainFunc = s.chain
	cfg.AggregatedDiscoveryGroupManager = apidiscovery.NewResourceManager("apis")
	cfg.RESTOptionsGetter = restOptions{s.config.Store, s.config.Limits.SlowReader}
	cfg.SkipOpenAPIInstallation = true // see openapi.go
	cfg.EnableIndex = true
	cfg.EnableProfiling, cfg.EnableMetrics = false, false
	cfg.StorageObjectCountTracker = nil
	cfg.DisabledPostStartHooks = sets.NewString("max-in-flight-filter")
	cfg.HealthzChecks = []healthz.HealthChecker{healthz.PingHealthz}
	cfg.LivezChecks = []healthz.HealthChecker{healthz.PingHealthz}
	cfg.ReadyzChecks = []healthz.HealthChecker{healthz.PingHealthz, healthz.NamedCheck("cluster", s.ready)}
	return cfg
}

func (s *Server) ready(*http.Request) error {
	if s.config.Ready == nil {
		return nil
	}
	return s.config.Ready()
}

// failing answers every request with a Status. Without it, paths that nobody serves would be answered with a list of those that are.
func failing(codecs runtime.NegotiatedSerializer, because func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		responsewriters.ErrorNegotiated(because(r), codecs, metav1.Unversioned, w, r)
	})
}

// Handler serves the API; requests must carry the client's certificate in their TLS state.
func (s *Server) Handler() http.Handler { return s.generic.Handler }

// Run serves HTTPS on a listener, with HTTP/2 and, for exec and its like, HTTP/1.1, until ctx
// ends. It closes the listener.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if s.config.TLS == nil {
		return errors.New("kube: the configuration has no TLS certificate to serve with")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(s.stopped)
	s.generic.RunPostStartHooks(ctx)
	var following sync.WaitGroup
	defer following.Wait() // after cancel
	following.Go(func() { s.flows.run(ctx) })
	following.Go(func() { s.followServices(ctx) })
	following.Go(func() { s.refreshServices(ctx) })
	hs := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         servingTLS(s.config.TLS),
		ReadHeaderTimeout: 32 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    1 << 20,
		// A connection that takes no byte at all would keep its watches from being ended one by one.
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: streamsPerConnectionMax, WriteByteTimeout: s.config.Limits.SlowReader},
		ErrorLog:    s.config.Logger.StandardLogger(nil),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: withCork,
	}
	failed := make(chan error, 1)
	go func() { failed <- hs.ServeTLS(corkListener{l}, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving the API: %w", err)
	case <-ctx.Done():
	}
	cancel() // ends watches and streams, whose contexts come from BaseContext
	closing, done := context.WithTimeout(context.Background(), shutdownGrace)
	defer done()
	if hs.Shutdown(closing) != nil {
		_ = hs.Close()
	}
	<-failed
	return nil
}
