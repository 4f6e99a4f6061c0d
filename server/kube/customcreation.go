package kube

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
)

const (
	// customCreationsBefore is how many creations of a custom resource its handler answers before the plain way is made for it, which costs
	// as much memory as the handler's own: most definitions have a handful of objects.
	customCreationsBefore = 16
	// customKindsMax bounds the resources that have a plain way. More than that are not written much at a time.
	customKindsMax = 64
	// establishedFor is how long a definition must have been established: other servers may not know it yet, so its handler waits.
	establishedFor = 2 * time.Second
)

// customCreations answers plain creations of custom resources that are created often, as creation does those of the table's kinds, with the
// library's validation and the same bytes as its handler, which answers everything else.
type customCreations struct {
	definitions listers.CustomResourceDefinitionLister
	converters  *conversion.CRConverterFactory
	options     restOptions
	admit       chain

	mu    sync.Mutex
	known map[schema.GroupVersionResource]*customKind
}

// customKind is one version of a custom resource.
type customKind struct {
	definition *apiextensionsv1.CustomResourceDefinition // for which it was made, as the lister had it last
	asked      int
	tried      bool
	creation   *creation // nil if it is not plain, or not yet
}

func (s *Server) newCustomCreations() error {
	converters, err := conversion.NewCRConverterFactory(webhookWay{s}, webhookWay{s}.wrap)
	if err != nil {
		return err
	}
	s.customCreations = &customCreations{definitions: s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister(), converters: converters,
		options: restOptions{s.config.Store, s.config.Limits.SlowReader}, admit: s.admission, known: map[schema.GroupVersionResource]*customKind{}}
	return nil
}

func (c *customCreations) serve(w http.ResponseWriter, r *http.Request, info *request.RequestInfo) bool {
	d, err := c.definitions.Get(info.Resource + "." + info.APIGroup)
	if err != nil || !accepting(d) || versionOf(d, info.APIVersion) == nil { // a path may have any version, also for who may create only this
		return false
	}
	of := c.creationFor(d, d.Spec.Group, info.APIVersion)
	return of != nil && of.serve(w, r, info.Namespace)
}

// accepting says whether a definition takes new objects without further thought.
func accepting(d *apiextensionsv1.CustomResourceDefinition) bool {
	e := apihelpers.FindCRDCondition(d, apiextensionsv1.Established)
	return e != nil && e.Status == apiextensionsv1.ConditionTrue && time.Since(e.LastTransitionTime.Time) >= establishedFor &&
		d.DeletionTimestamp.IsZero() && !apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Terminating)
}

// creationFor is the plain way of a version, nil if there is none. It is made once the version has been asked for often enough.
func (c *customCreations) creationFor(d *apiextensionsv1.CustomResourceDefinition, group, version string) *creation {
	gvr := schema.GroupVersionResource{Group: group, Version: version, Resource: d.Spec.Names.Plural}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[gvr]
	if k == nil || !sameDefinition(k.definition, d) {
		c.forgetGone()
		k = &customKind{}
		c.known[gvr] = k
	}
	k.definition = d
	if k.asked++; k.asked >= customCreationsBefore && !k.tried && c.made() < customKindsMax {
		k.creation, k.tried = c.newCreation(d, version), true
	}
	return k.creation
}

// made is how many resources have a plain way.
func (c *customCreations) made() (n int) {
	for _, k := range c.known {
		if k.creation != nil {
			n++
		}
	}
	return n
}

// forgetGone drops what was known of definitions and versions that are no more, whenever a definition is new.
func (c *customCreations) forgetGone() {
	for gvr, k := range c.known {
		if now, err := c.definitions.Get(gvr.GroupResource().String()); err != nil || now.UID != k.definition.UID || versionOf(now, gvr.Version) == nil {
			delete(c.known, gvr)
		}
	}
}

// sameDefinition says whether two states of a definition make the same objects.
func sameDefinition(a, b *apiextensionsv1.CustomResourceDefinition) bool {
	return a == b || a.UID == b.UID && a.Generation == b.Generation && equality.Semantic.DeepEqual(a.Status.AcceptedNames, b.Status.AcceptedNames)
}

// newCreation is nil if objects of the version are not created plainly: they are stored in another version, the version is deprecated, for
// which the handler warns, or the schema is one of the old ones that keep everything.
func (c *customCreations) newCreation(d *apiextensionsv1.CustomResourceDefinition, version string) *creation {
	v := versionOf(d, version)
	if v == nil || !v.Served || !v.Storage || v.Deprecated || d.Spec.PreserveUnknownFields || v.Schema == nil || d.Status.AcceptedNames.Plural != d.Spec.Names.Plural {
		return nil
	}
	kind, err := newCustomForm(d, version)
	if err != nil {
		return nil // the handler says why
	}
	store, err := kind.store(d, v, c.options)
	if err != nil {
		return nil
	}
	objects, err := kind.interfaces(d, c.converters)
	if err != nil {
		return nil
	}
	gvk := schema.GroupVersionKind{Group: d.Spec.Group, Version: version, Kind: d.Status.AcceptedNames.Kind}
	return &creation{kind: gvk, resource: gvk.GroupVersion().WithResource(d.Status.AcceptedNames.Plural), root: "/apis/" + gvk.GroupVersion().String() + "/",
		global: d.Spec.Scope == apiextensionsv1.ClusterScoped, store: store, admit: c.admit, codecs: crdserver.Codecs,
		media: map[string]medium{jsonMedia: {}}, form: kind, objects: objects}
}

func versionOf(d *apiextensionsv1.CustomResourceDefinition, name string) *apiextensionsv1.CustomResourceDefinitionVersion {
	for i := range d.Spec.Versions {
		if d.Spec.Versions[i].Name == name {
			return &d.Spec.Versions[i]
		}
	}
	return nil
}
