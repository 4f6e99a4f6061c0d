package kube

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
)

// immortal namespaces cannot be deleted: the cluster itself lives in them.
var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

// namespaceRule refuses objects in namespaces that are not there or are going, and the deletion of immortal ones.
type namespaceRule struct{ state }

func (r namespaceRule) mutate(ctx context.Context, at admission.Attributes) error {
	// A subresource's object is there, and must stay reachable while its namespace goes.
	ns := at.GetNamespace()
	if at.GetOperation() != admission.Create || at.GetSubresource() != "" || ns == "" || at.GetResource().GroupResource() == namespacesResource {
		return nil
	}
	o := r.Object(namespacesResource, "", ns)
	if o == nil { // the local state may be behind
		if err := r.Barrier(ctx); err != nil {
			return unavailable(namespacesResource, "read", err)
		}
		if o = r.Object(namespacesResource, "", ns); o == nil {
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

func (r namespaceRule) validate(_ context.Context, at admission.Attributes) error {
	gr := at.GetResource().GroupResource()
	if gr == namespacesResource && at.GetOperation() == admission.Delete && at.GetSubresource() == "" && immortal[at.GetName()] {
		return apierrors.NewForbidden(gr, at.GetName(), errors.New("this namespace may not be deleted"))
	}
	return nil
}
