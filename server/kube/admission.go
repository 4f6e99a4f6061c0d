package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/peapod-sh/peapod/api"
)

var (
	namespacesResource = schema.GroupResource{Resource: "namespaces"}
	podsResource       = schema.GroupResource{Resource: "pods"}
	servicesResource   = schema.GroupResource{Resource: "services"}
)

// immortal namespaces cannot be deleted: the cluster itself lives in them.
var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

// admit checks what needs more than the object itself, and fills in what depends on the cluster.
type admit struct{ store Store }

var _ admission.MutationInterface = admit{}

func newAdmission(store Store) admission.Interface { return admit{store} }

// Handles says which operations Admit wants to see.
func (a admit) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Delete
}

// Admit refuses objects in namespaces that are not there or are going, and the deletion of immortal ones.
func (a admit) Admit(ctx context.Context, at admission.Attributes, _ admission.ObjectInterfaces) error {
	gr := at.GetResource().GroupResource()
	if gr == namespacesResource {
		if at.GetOperation() == admission.Delete && at.GetSubresource() == "" && immortal[at.GetName()] {
			return apierrors.NewForbidden(gr, at.GetName(), fmt.Errorf("this namespace may not be deleted"))
		}
		return nil
	}
	if at.GetOperation() != admission.Create || at.GetNamespace() == "" {
		return nil
	}
	if at.GetSubresource() != "" {
		return nil // the object is there, and must stay reachable while its namespace goes
	}
	if err := a.namespaceOpen(ctx, at); err != nil {
		return err
	}
	if pod, ok := at.GetObject().(*corev1.Pod); ok && gr == podsResource {
		admitPod(pod)
	}
	return nil
}

// PreparePod makes of a controller's pod what it would have become on its way through the API:
// admitted, defaulted and prepared. It looks at nothing but the pod.
func PreparePod(p *corev1.Pod) {
	admitPod(p)
	k := api.KindFor(podsResource)
	k.Default(p)
	k.PrepareForCreate(p)
	p.Generation = 1
}

// admitPod fills in what admission, not defaulting, gives a pod: an account and a priority.
func admitPod(p *corev1.Pod) {
	nameServiceAccount(p)
	if p.Spec.Priority == nil {
		p.Spec.Priority = new(int32)
	}
	if p.Spec.PreemptionPolicy == nil {
		lower := corev1.PreemptLowerPriority
		p.Spec.PreemptionPolicy = &lower
	}
}

func (a admit) namespaceOpen(ctx context.Context, at admission.Attributes) error {
	ns := at.GetNamespace()
	o, ok := a.store.Get(namespacesResource, "", ns)
	if !ok { // the local state may be behind
		if err := a.store.Barrier(ctx); err != nil {
			return unavailable(namespacesResource, "read", err)
		}
		if o, ok = a.store.Get(namespacesResource, "", ns); !ok {
			return apierrors.NewNotFound(namespacesResource, ns)
		}
	}
	n, ok := o.(*corev1.Namespace)
	if !ok || n.Status.Phase != corev1.NamespaceTerminating && n.DeletionTimestamp == nil {
		return nil
	}
	err := apierrors.NewForbidden(at.GetResource().GroupResource(), at.GetName(),
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", ns), Field: "metadata.namespace"})
	return err
}

// nameServiceAccount gives a pod the namespace's default account; the old field name follows.
func nameServiceAccount(p *corev1.Pod) {
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = p.Spec.DeprecatedServiceAccount
	}
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = "default"
	}
	p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName
}
