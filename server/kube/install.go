package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server"

	"github.com/peapod-sh/peapod/api"
)

// served is the storages of one group version, by path ("pods", "pods/status").
type served map[string]rest.Storage

// install makes the storages of every kind and registers their handlers and discovery. It does
// what GenericAPIServer.InstallAPIGroups does, but for the OpenAPI models that this builds at start.
func (s *Server) install(cfg *server.Config) error {
	groups := map[schema.GroupVersion]served{}
	for _, k := range api.Kinds() {
		if groups[k.GroupVersion] == nil {
			groups[k.GroupVersion] = served{}
		}
		if err := s.storages(k, cfg, groups[k.GroupVersion]); err != nil {
			return fmt.Errorf("making the storage of %s: %w", k.GroupResource(), err)
		}
	}
	s.reviews(groups)
	codecs := serializer.NewCodecFactory(api.Scheme,
		serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	types := newTypes(slices.Collect(maps.Values(groups))...)
	for _, gv := range slices.SortedFunc(maps.Keys(groups), compareGroupVersions) {
		if err := s.installGroupVersion(cfg, gv, groups[gv], codecs, types); err != nil {
			return fmt.Errorf("installing %s: %w", gv, err)
		}
	}
	return nil
}

// compareGroupVersions puts the core group, whose name is empty, first.
func compareGroupVersions(a, b schema.GroupVersion) int {
	return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Version, b.Version))
}

// storages adds the main storage of a kind and those of its subresources.
func (s *Server) storages(k *api.Kind, cfg *server.Config, out served) error {
	store, err := newStore(k, cfg.RESTOptionsGetter)
	if err != nil {
		return err
	}
	out[k.Resource] = s.mainStorage(k, store, out)
	if k.HasStatus {
		out[k.Resource+"/status"] = newStatus(store, k)
	}
	if k.Scale != nil {
		out[k.Resource+"/scale"] = &scale{store, k}
	}
	return nil
}

// mainStorage gives the kinds with a life of their own what they need beyond the generic store,
// before the subresources that all kinds may have are made from it.
func (s *Server) mainStorage(k *api.Kind, store *registry.Store, out served) rest.Storage {
	r := resource{store, k}
	switch k.GroupResource() {
	case namespacesResource:
		n := newNamespaces(r)
		out["namespaces/finalize"] = newFinalize(store, k)
		return n
	case servicesResource:
		return newServices(r, &allocator{s.config.Store, s.config.ServiceCIDR, s.config.DNSAddress, s.config.NodePorts})
	case podsResource:
		return s.newPods(r, out)
	case accountsResource:
		if s.accounts != nil {
			out["serviceaccounts/token"] = &accountToken{store, s.accounts}
		}
	}
	return r
}

func (s *Server) installGroupVersion(cfg *server.Config, gv schema.GroupVersion, storages served,
	codecs serializer.CodecFactory, types managedfields.TypeConverter) error {
	root := server.APIGroupPrefix
	if gv.Group == "" {
		root = server.DefaultLegacyAPIPrefix
	}
	v := &genericapi.APIGroupVersion{
		Root:                        root,
		GroupVersion:                gv,
		Storage:                     storages,
		AllServedVersionsByResource: map[string][]string{},
		OptionsExternalVersion:      &schema.GroupVersion{Version: "v1"},
		ParameterCodec:              api.ParameterCodec,
		Serializer:                  codecs,
		Creater:                     api.Scheme,
		Convertor:                   api.Scheme,
		ConvertabilityChecker:       api.Scheme,
		UnsafeConvertor:             runtime.UnsafeObjectConvertor(api.Scheme),
		Defaulter:                   api.Scheme,
		Typer:                       api.Scheme,
		Namer:                       runtime.Namer(meta.NewAccessor()),
		TypeConverter:               types,
		EquivalentResourceRegistry:  s.generic.EquivalentResourceRegistry,
		Admit:                       cfg.AdmissionControl,
		MinRequestTimeout:           watchTimeoutMin,
		Authorizer:                  cfg.Authorization.Authorizer,
		MaxRequestBodyBytes:         cfg.MaxRequestBodyBytes,
	}
	for r := range storages {
		v.AllServedVersionsByResource[r] = []string{gv.String()}
	}
	resources, _, err := v.InstallREST(s.generic.Handler.GoRestfulContainer)
	if err != nil {
		return err
	}
	s.publish(cfg, gv, apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Resources: resources, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent})
	return nil
}

// publish adds a group version to both forms of discovery.
func (s *Server) publish(cfg *server.Config, gv schema.GroupVersion, v apidiscoveryv2.APIVersionDiscovery) {
	g := s.generic
	if gv.Group == "" {
		g.AggregatedLegacyDiscoveryGroupManager.AddGroupVersion("", v)
		legacy := discovery.NewLegacyRootAPIHandler(cfg.DiscoveryAddresses, g.Serializer, server.DefaultLegacyAPIPrefix)
		both := aggregated.WrapAggregatedDiscoveryToHandler(legacy, g.AggregatedLegacyDiscoveryGroupManager, g.AggregatedLegacyDiscoveryGroupManager)
		g.Handler.GoRestfulContainer.Add(both.GenerateWebService(server.DefaultLegacyAPIPrefix, metav1.APIVersions{}))
		return
	}
	g.AggregatedDiscoveryGroupManager.AddGroupVersion(gv.Group, v)
	version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
	group := metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}
	g.DiscoveryGroupManager.AddGroup(group)
	g.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(g.Serializer, group).WebService())
}
