package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// accountRule gives new pods what their service account brings.
type accountRule struct{ state }

func (r accountRule) mutate(ctx context.Context, at admission.Attributes) error {
	p := created[corev1.Pod](at, podsResource)
	if p == nil {
		return nil
	}
	nameServiceAccount(p)
	account, err := r.account(ctx, at.GetNamespace(), p.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(at, fmt.Errorf("error looking up service account %s/%s: %w", at.GetNamespace(), p.Spec.ServiceAccountName, err))
	}
	giveAccount(p, account)
	return nil
}

// account finds a service account. A namespace's default account is made a moment after the namespace, so it is waited for.
func (r accountRule) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	for deadline := time.Now().Add(defaultAccountWait); ; {
		if o := r.Object(accountsResource, namespace, name); o != nil {
			return o.(*corev1.ServiceAccount), nil
		}
		if err := r.Barrier(ctx); err != nil {
			return nil, unavailable(accountsResource, "read", err)
		}
		if o := r.Object(accountsResource, namespace, name); o != nil {
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
