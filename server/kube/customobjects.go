package kube

import (
	"context"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/peapod-sh/peapod/server/hooks"
)

// localState asks for what this server knows already, without a word to others.
const localState = "0"

// customObjects reads custom resources for policies through this server's own handlers, which convert and default them. The server is
// there only when the first request comes.
type customObjects struct{ server *Server }

var _ hooks.CustomObjects = customObjects{}

// Resource implements hooks.CustomObjects.
func (c customObjects) Resource(kind schema.GroupVersionKind) (gvr schema.GroupVersionResource, namespaced, ok bool) {
	all, err := c.server.custom.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister().List(labels.Everything())
	if err != nil {
		return gvr, false, false // the lister of a cache has no errors
	}
	for _, d := range all {
		if d.Spec.Group == kind.Group && d.Status.AcceptedNames.Kind == kind.Kind && slices.Contains(servedVersionsOf(d), kind.Version) &&
			apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established) {
			return schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: d.Status.AcceptedNames.Plural},
				d.Spec.Scope == apiextensionsv1.NamespaceScoped, true
		}
	}
	return gvr, false, false
}

// Get implements hooks.CustomObjects.
func (c customObjects) Get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (runtime.Object, error) {
	client, err := c.server.ownDynamic()
	if err != nil {
		return nil, err
	}
	o, err := client.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: localState})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// List implements hooks.CustomObjects.
func (c customObjects) List(ctx context.Context, gvr schema.GroupVersionResource, namespace string, selector labels.Selector) ([]runtime.Object, error) {
	client, err := c.server.ownDynamic()
	if err != nil {
		return nil, err
	}
	list, err := client.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{ResourceVersion: localState, LabelSelector: selector.String()})
	if err != nil {
		return nil, err
	}
	out := make([]runtime.Object, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}

// newOwnDynamic makes the client of this server's own handlers.
func newOwnDynamic(l *loopback) (dynamic.Interface, error) {
	return dynamic.NewForConfig(dynamic.ConfigFor(l.config()))
}
