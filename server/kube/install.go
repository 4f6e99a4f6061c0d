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
	"k8s.io/apimachinery/pkg/version"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/rbac"
)

// served is the storages of one group version, by path ("pods", "pods/status").
type served map[string]rest.Storage

// install makes the storages of every kind and registers their handlers and discovery. It does
// what GenericAPIServer.InstallAPIGroups does, but for the OpenAPI models that this builds at start.
func (s *Server) install(cfg *server.Config) error {
	groups, err := s.groups(cfg)
	if err != nil {
		return err
	}
	codecs := serializer.NewCodecFactory(api.Scheme,
		serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	types := newTypes(slices.Collect(maps.Values(groups))...)
	s.types = types
	s.creations = newCreations(groups, s.admission, codecs, types)
	versions := map[string][]metav1.GroupVersionForDiscovery{}
	for _, gv := range slices.SortedFunc(maps.Keys(groups), compareGroupVersions) {
		if err := s.installGroupVersion(cfg, gv, groups[gv], codecs, types); err != nil {
			return fmt.Errorf("installing %s: %w", gv, err)
		}
		versions[gv.Group] = append(versions[gv.Group], metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	s.noteBuiltin(versions)
	byPriority := func(a, b string) int { return cmp.Or(groupPriority(b)-groupPriority(a), strings.Compare(a, b)) }
	for _, group := range slices.SortedFunc(maps.Keys(versions), byPriority) {
		s.publishGroup(cfg, group, versions[group])
	}
	return nil
}

// groups makes the storages of everything that is served.
func (s *Server) groups(cfg *server.Config) (map[schema.GroupVersion]served, error) {
	groups := map[schema.GroupVersion]served{}
	add := func(gv schema.GroupVersion, storages served) {
		if groups[gv] == nil {
			groups[gv] = served{}
		}
		maps.Copy(groups[gv], storages)
	}
	for _, k := range api.Kinds() {
		storages := served{}
		if err := s.storages(k, cfg, storages); err != nil {
			return nil, fmt.Errorf("making the storage of %s: %w", k.GroupResource(), err)
		}
		add(k.GroupVersion, storages)
		for _, f := range k.Forms {
			add(f.GroupVersion, storages)
		}
	}
	s.reviews(groups)
	add(metricsv1beta1.SchemeGroupVersion, (&meters{s.pods, s.nodes, s.config.Nodes, s.config.Logger.Warn}).storages())
	add(schema.GroupVersion{Version: "v1"}, served{"componentstatuses": components{s.config.Ready}})
	return groups, nil
}

// compareGroupVersions puts the core group, whose name is empty, first, and a group's preferred version before its others.
func compareGroupVersions(a, b schema.GroupVersion) int {
	return cmp.Or(strings.Compare(a.Group, b.Group), -version.CompareKubeAwareVersionStrings(a.Version, b.Version))
}

// storages adds the main storage of a kind and those of its subresources.
func (s *Server) storages(k *api.Kind, cfg *server.Config, out served) error {
	store, err := newStore(k, cfg.RESTOptionsGetter)
	if err != nil {
		return err
	}
	out[k.Resource] = s.mainStorage(k, store, out)
	if k.HasStatus && out[k.Resource+"/status"] == nil {
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
		n := newNamespaces(r, s.aggregation.Any)
		out["namespaces/finalize"] = newFinalize(store, k)
		return n
	case nodesResource:
		s.nodes = store
		out["nodes/proxy"] = s.nodeProxy(store)
	case servicesResource:
		out["services/proxy"] = s.serviceProxy(store)
		return newServices(r, &allocator{s.config.Store, s.config.ServiceCIDR, s.config.ServiceCIDR6, s.config.DNSAddress, s.config.NodePorts})
	case podsResource:
		s.pods = store
		return s.newPods(r, out)
	case rbac.Roles, rbac.RoleBindings, rbac.ClusterRoles, rbac.ClusterRoleBindings:
		return s.newPolicy(r)
	case certificatesResource:
		return s.newCertificates(r, out)
	case deviceClaimsResource, deviceClaimTemplatesResource:
		return s.newDeviceClaims(r, out)
	case bundlesResource:
		return bundles{r, signers{s.config.Authorizer}}
	case podCertificatesResource:
		out["podcertificaterequests/status"] = s.newPodCertificateStatus(r)
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
		v.AllServedVersionsByResource[r] = servedVersions(gv, r)
	}
	resources, _, err := v.InstallREST(s.generic.Handler.GoRestfulContainer)
	if err != nil {
		return err
	}
	s.publish(gv, apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Resources: resources, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent})
	return nil
}

// servedVersions are all versions of a group that serve a resource.
func servedVersions(gv schema.GroupVersion, path string) []string {
	resource, _, _ := strings.Cut(path, "/")
	k := api.KindFor(schema.GroupResource{Group: gv.Group, Resource: resource})
	if k == nil { // a review, or another group's kind
		return []string{gv.String()}
	}
	out := []string{k.GroupVersion.String()}
	for _, f := range k.Forms {
		if f.GroupVersion.Group == gv.Group {
			out = append(out, f.GroupVersion.String())
		}
	}
	return out
}

// versionPriority is that of a group's preferred version, from which the others count down.
const versionPriority = 15

// publish adds a group version to the discovery of all groups at once.
func (s *Server) publish(gv schema.GroupVersion, v apidiscoveryv2.APIVersionDiscovery) {
	if gv.Group == "" {
		s.generic.AggregatedLegacyDiscoveryGroupManager.AddGroupVersion("", v)
		return
	}
	s.generic.AggregatedDiscoveryGroupManager.AddGroupVersion(gv.Group, v)
}

// publishGroup adds a group, its preferred version first, to the discovery of one group after the other.
func (s *Server) publishGroup(cfg *server.Config, name string, versions []metav1.GroupVersionForDiscovery) {
	g := s.generic
	if name == "" {
		legacy := discovery.NewLegacyRootAPIHandler(cfg.DiscoveryAddresses, g.Serializer, server.DefaultLegacyAPIPrefix)
		both := aggregated.WrapAggregatedDiscoveryToHandler(legacy, g.AggregatedLegacyDiscoveryGroupManager, g.AggregatedLegacyDiscoveryGroupManager)
		g.Handler.GoRestfulContainer.Add(both.GenerateWebService(server.DefaultLegacyAPIPrefix, metav1.APIVersions{}))
		return
	}
	for i, v := range versions {
		g.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion{Group: name, Version: v.Version}, groupPriority(name), versionPriority-i)
	}
	group := metav1.APIGroup{Name: name, Versions: versions, PreferredVersion: versions[0]}
	s.builtinGroups[name] = group
	g.DiscoveryGroupManager.AddGroup(group)
	g.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(g.Serializer, group).WebService())
}

// groupOrder is the order in which clients look for a resource that they know by its name only.
var groupOrder = []string{"apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io",
	"networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io",
	"scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "flowcontrol.apiserver.k8s.io"}

func groupPriority(name string) int {
	const first, step = 17900, 100
	if i := slices.Index(groupOrder, name); i >= 0 {
		return first - step*i
	}
	return first - step*len(groupOrder)
}
