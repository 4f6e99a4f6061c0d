package reconcile

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// rootCAConfigMap is the ConfigMap by which pods know the API server's certificate.
// defaultAccount is the service account that every namespace has.
const defaultAccount = "default"

const rootCAConfigMap = "kube-root-ca.crt"

// syncNamespace furnishes a namespace, or empties and removes it.
func (e *Engine) syncNamespace(k key) {
	o := e.object(Namespaces, "", k.name)
	if o == nil {
		return
	}
	if o.meta.GetDeletionTimestamp() == nil {
		e.furnish(k.name)
		return
	}
	empty := e.emptyNamespace(k.name)
	n := o.obj.(*corev1.Namespace)
	switch {
	case empty:
		e.finishNamespace(o, n)
	case n.Status.Phase != corev1.NamespaceTerminating:
		c := n.DeepCopy()
		c.Status.Phase = corev1.NamespaceTerminating
		e.put(Namespaces, c, o.rev)
	}
}

// furnish gives a namespace the objects that every pod in it may count on.
func (e *Engine) furnish(ns string) {
	if e.object(Accounts, ns, defaultAccount) == nil {
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: defaultAccount}}
		e.stamp(&sa.ObjectMeta)
		sa.Generation = 0
		e.put(Accounts, sa, 0)
	}
	if e.cfg.RootCA == "" {
		return
	}
	want := map[string]string{"ca.crt": e.cfg.RootCA}
	o := e.object(ConfigMaps, ns, rootCAConfigMap)
	if o == nil {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: rootCAConfigMap,
			Annotations: map[string]string{"kubernetes.io/description": "The certificate authority of this cluster's API servers."},
		}, Data: want}
		e.stamp(&cm.ObjectMeta)
		cm.Generation = 0
		e.put(ConfigMaps, cm, 0)
		return
	}
	if cm := o.obj.(*corev1.ConfigMap); !maps.Equal(cm.Data, want) {
		c := cm.DeepCopy()
		c.Data, c.BinaryData = want, nil
		e.put(ConfigMaps, c, o.rev)
	}
}

// emptyNamespace deletes the content: pods first, everything else once they are gone. It reports
// whether nothing is left.
func (e *Engine) emptyNamespace(ns string) bool {
	s := e.spaces[ns]
	if s == nil {
		return true
	}
	if len(s.pods) > 0 {
		for _, p := range podsByName(s.pods) {
			e.doomPod(p, -1)
		}
		return false
	}
	left := false
	for _, gr := range slices.SortedFunc(maps.Keys(s.objects), compareResources) {
		for _, o := range e.list(ns, gr) {
			left = true
			e.deleteObject(o, "")
		}
	}
	return !left
}

func compareResources(a, b schema.GroupResource) int { return compareRefs(ref{gr: a}, ref{gr: b}) }

// finishNamespace takes the "kubernetes" finalizer off an empty namespace, and removes it if
// nobody else holds it.
func (e *Engine) finishNamespace(o *object, n *corev1.Namespace) {
	c := n.DeepCopy()
	c.Spec.Finalizers = slices.DeleteFunc(c.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	c.Status.Phase = corev1.NamespaceTerminating
	switch {
	case len(c.Spec.Finalizers) == 0 && len(c.Finalizers) == 0:
		delete(e.spaces, o.name)
		e.remove(o)
	case len(c.Spec.Finalizers) != len(n.Spec.Finalizers) || n.Status.Phase != c.Status.Phase:
		e.put(Namespaces, c, o.rev)
	}
}
