package kube

import (
	"context"
	"fmt"
	"time"

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
	if at.GetOperation() != admission.Create {
		return nil
	}
	if gr == certificatesResource && at.GetSubresource() == "" {
		return admitRequest(at)
	}
	if at.GetNamespace() == "" {
		return nil
	}
	if at.GetSubresource() != "" {
		return nil // the object is there, and must stay reachable while its namespace goes
	}
	if err := a.namespaceOpen(ctx, at); err != nil {
		return err
	}
	if pod, ok := at.GetObject().(*corev1.Pod); ok && gr == podsResource {
		return a.admitPod(ctx, pod, at)
	}
	return nil
}

// admitPod fills in what admission, not defaulting, gives a pod.
func (a admit) admitPod(ctx context.Context, p *corev1.Pod, at admission.Attributes) error {
	nameServiceAccount(p)
	account, err := a.account(ctx, at.GetNamespace(), p.Spec.ServiceAccountName)
	if err != nil {
		return apierrors.NewForbidden(podsResource, p.Name, fmt.Errorf("error looking up service account %s/%s: %w", at.GetNamespace(), p.Spec.ServiceAccountName, err))
	}
	completePod(p, account)
	return nil
}

// account finds a service account. A namespace's default account is made a moment after the namespace, so it is waited for.
func (a admit) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	for deadline := time.Now().Add(defaultAccountWait); ; {
		o, ok := a.store.Get(accountsResource, namespace, name)
		if ok {
			return o.(*corev1.ServiceAccount), nil
		}
		if err := a.store.Barrier(ctx); err != nil {
			return nil, unavailable(accountsResource, "read", err)
		}
		if o, ok := a.store.Get(accountsResource, namespace, name); ok {
			return o.(*corev1.ServiceAccount), nil
		}
		if name != defaultAccount || time.Now().After(deadline) {
			return nil, fmt.Errorf("serviceaccount %q not found", name)
		}
		select {
		case <-time.After(defaultAccountPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// PreparePod makes of a controller's pod what it would have become on its way through the API:
// admitted, defaulted and prepared. It looks at nothing but the pod and its account.
func PreparePod(p *corev1.Pod, account *corev1.ServiceAccount) {
	nameServiceAccount(p)
	completePod(p, account)
	k := api.KindFor(podsResource)
	k.Default(p)
	k.PrepareForCreate(p)
	p.Generation = 1
}

// completePod gives a pod what its account brings, and a priority.
func completePod(p *corev1.Pod, account *corev1.ServiceAccount) {
	giveAccount(p, account)
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
