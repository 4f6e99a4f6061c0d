package kube

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	crdopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// customResources serves custom resource definitions and what they define. The handlers and controllers are those of
// k8s.io/apiextensions-apiserver, behind the handlers of the table's kinds; the objects are Documents in the same store.
type customResources struct {
	*crdserver.CustomResourceDefinitions
	informer cache.SharedIndexInformer
	handlers *customHandlers
}

// crdInformerHook waits for the definitions. It would end the process if the server was stopped before they are all there, so unknownPath
// waits for them instead.
const crdInformerHook = "crd-informer-synced"

// newCustomResources makes the server that the one of the table's kinds, which cfg is for, delegates to. Its controllers speak to the
// API through loopback.
func newCustomResources(cfg server.Config, options restOptions, loopback *restclient.Config, hooks webhookWay, next http.Handler) (*customResources, error) {
	c := &customResources{}
	cfg.PostStartHooks = map[string]server.PostStartHookConfigEntry{}
	cfg.DisabledPostStartHooks = cfg.DisabledPostStartHooks.Union(sets.NewString(crdInformerHook))
	cfg.MergedResourceConfig = crdserver.DefaultAPIResourceConfigSource()
	cfg.OpenAPIV3Config = server.DefaultOpenAPIV3Config(crdopenapi.GetOpenAPIDefinitions, apiopenapi.NewDefinitionNamer(crdserver.Scheme))
	cfg.SkipOpenAPIInstallation = true // see openapi.go
	cfg.EnableIndex = false
	cfg.AdmissionControl = definitionRule{cfg.AdmissionControl}
	cfg.Serializer = crdserver.Codecs
	cfg.LoopbackClientConfig = loopback
	v1 := apiextensionsv1.SchemeGroupVersion
	cfg.RESTOptionsGetter = documentOptions{options, crdserver.Codecs.LegacyCodec(v1), v1}
	config := &crdserver.Config{
		GenericConfig: &server.RecommendedConfig{Config: cfg},
		ExtraConfig: crdserver.ExtraConfig{
			CRDRESTOptionsGetter: documentOptions{options, documentCodec{unstructured.UnstructuredJSONScheme}, nil},
			MasterCount:          1, // definitions are established at once
			ServiceResolver:      hooks,
			AuthResolverWrapper:  hooks.wrap,
		},
	}
	var err error
	complete := config.Complete()
	c.CustomResourceDefinitions, err = complete.New(server.NewEmptyDelegateWithCustomHandler(c.unknownPath(next)))
	if err != nil {
		return nil, fmt.Errorf("making the server of custom resources: %w", err)
	}
	c.informer = c.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer()
	if c.handlers, err = newCustomHandlers(complete, c.CustomResourceDefinitions); err != nil {
		return nil, fmt.Errorf("making the handler of custom resources: %w", err)
	}
	return c, nil
}

// withoutHealth keeps the health of a server from that of the one which delegates to it: while the definitions cannot be read the server
// is not ready, but it lives.
type withoutHealth struct{ server.DelegationTarget }

// HealthzChecks are none.
func (withoutHealth) HealthzChecks() []healthz.HealthChecker { return nil }

// HealthzChecks say whether the definitions are known and in discovery.
func (c *customResources) HealthzChecks() []healthz.HealthChecker {
	return slices.DeleteFunc(slices.Clone(c.GenericAPIServer.HealthzChecks()), func(h healthz.HealthChecker) bool {
		return !strings.HasPrefix(h.Name(), "poststarthook/start-apiextensions-")
	})
}

// unknownPath answers what nobody serves. Before the definitions are known a path may be one of theirs.
func (c *customResources) unknownPath(next http.Handler) http.Handler {
	early := failing(crdserver.Codecs, func(*http.Request) error {
		e := apierrors.NewServiceUnavailable("the custom resource definitions are not known yet")
		e.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
		return e
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.informer != nil && !c.informer.HasSynced() {
			w.Header().Set("Retry-After", "1")
			early.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// versionsOf are the versions of a group in which custom resources are served. It is asked at every change of one of many definitions.
func (c *customResources) versionsOf(group string) sets.Set[string] {
	versions := sets.New[string]()
	all, err := c.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister().List(labels.Everything())
	if err != nil {
		return versions // the lister of a cache has no errors
	}
	for _, d := range all {
		if d.Spec.Group == group && apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established) {
			versions.Insert(servedVersionsOf(d)...)
		}
	}
	return versions
}

// established lists the definitions whose resources are served, in the order of their names.
func (c *customResources) established() []*apiextensionsv1.CustomResourceDefinition {
	all, err := c.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister().List(labels.Everything())
	if err != nil {
		return nil // the lister of a cache has no errors
	}
	all = slices.DeleteFunc(all, func(d *apiextensionsv1.CustomResourceDefinition) bool {
		return !apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established)
	})
	slices.SortFunc(all, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return compareNames(a.Name, b.Name) })
	return all
}

func compareNames(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// servedVersionsOf are the versions that a definition serves.
func servedVersionsOf(d *apiextensionsv1.CustomResourceDefinition) (out []string) {
	for _, v := range d.Spec.Versions {
		if v.Served {
			out = append(out, v.Name)
		}
	}
	return out
}

// groupLister keeps the groups of custom resources, and those of services, in the list of all groups; discovery of all resources at once
// follows by itself.
type groupLister struct {
	resources *customResources
	list      interface {
		AddGroup(metav1.APIGroup)
		RemoveGroup(string)
	}
	builtin map[string]metav1.APIGroup // the table's

	mu     sync.Mutex
	here   sets.Set[string]           // the groups that it has added
	others map[string]metav1.APIGroup // those of which a service has a version, with all their versions
}

func (s *Server) listCustomGroups() error {
	gv := apiextensionsv1.SchemeGroupVersion
	own := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
	s.generic.DiscoveryGroupManager.AddGroup(metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{own}, PreferredVersion: own})
	s.generic.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion{Group: gv.Group, Version: gv.Version}, groupPriority(gv.Group), versionPriority)
	l := &groupLister{resources: s.custom, list: s.generic.DiscoveryGroupManager, builtin: s.builtinGroups, here: sets.New[string]()}
	s.listed = l
	_, err := s.custom.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { l.refresh(groupOf(o)) },
		UpdateFunc: func(_, o any) { l.refresh(groupOf(o)) },
		DeleteFunc: func(o any) { l.refresh(groupOf(o)) },
	})
	return err
}

func groupOf(o any) string {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	if d, ok := o.(*apiextensionsv1.CustomResourceDefinition); ok {
		return d.Spec.Group
	}
	return ""
}

// refresh brings one group up to date.
func (l *groupLister) refresh(group string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	versions := l.resources.versionsOf(group)
	g, served := l.builtin[group]
	if other, ok := l.others[group]; ok {
		g, served = other, true
	} else if len(versions) > 0 && !served {
		g, served = groupWith(group, versions.UnsortedList()), true
	}
	switch {
	case served:
		l.list.AddGroup(g)
		l.here.Insert(group)
	case l.here.Has(group):
		l.list.RemoveGroup(group)
		l.here.Delete(group)
	}
}
