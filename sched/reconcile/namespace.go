package reconcile

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
	empty, left := e.emptyNamespace(k.name)
	n := o.obj.(*corev1.Namespace)
	if empty {
		e.finishNamespace(o, n)
		return
	}
	c := n.DeepCopy()
	c.Status.Phase = corev1.NamespaceTerminating
	if len(left.Objects) > 0 { // else this step's deletions are the last
		e.setNamespaceConditions(c, left)
	}
	if !equality.Semantic.DeepEqual(c.Status, n.Status) {
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
// whether there is nothing, and what will not be gone by these deletions alone.
func (e *Engine) emptyNamespace(ns string) (empty bool, left Remains) {
	left = newRemains()
	s := e.spaces[ns]
	if s == nil {
		return true, left
	}
	if s.pods.n > 0 {
		for _, p := range podsByName(s.pods.all()) {
			e.doomPod(p, -1)
			if held := p.rec.Template.Pod.Finalizers; p.doom != gone || len(held) > 0 {
				left.add(Pods, held)
			}
		}
		return false, left
	}
	empty = true
	for _, gr := range slices.SortedFunc(maps.Keys(s.objects), compareResources) {
		for _, o := range e.list(ns, gr) {
			empty = false
			e.deleteObject(o, "")
			if held := o.meta.GetFinalizers(); len(held) > 0 {
				left.add(gr, held)
			}
		}
	}
	return empty, left
}

func compareResources(a, b schema.GroupResource) int { return compareRefs(ref{gr: a}, ref{gr: b}) }

// finishNamespace takes the "kubernetes" finalizer off an empty namespace, and removes it if
// nobody else holds it.
func (e *Engine) finishNamespace(o *object, n *corev1.Namespace) {
	c := n.DeepCopy()
	own := slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	c.Spec.Finalizers = slices.DeleteFunc(c.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if own { // else whoever holds it says why
		e.setNamespaceConditions(c, newRemains())
	}
	switch {
	case len(c.Spec.Finalizers) == 0 && len(c.Finalizers) == 0:
		delete(e.spaces, o.name)
		e.remove(o)
	case !equality.Semantic.DeepEqual(c, n):
		e.put(Namespaces, c, o.rev)
	}
}
