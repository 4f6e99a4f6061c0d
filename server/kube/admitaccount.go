package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/peapod-sh/peapod/server/nodeauth"
)

// accountRule gives new pods what their service account brings.
type accountRule struct{ state }

func (r accountRule) mutate(ctx context.Context, at admission.Attributes) error {
	p := created[corev1.Pod](at, podsResource)
	if p == nil {
		return nil
	}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		if err := checkMirrorAccount(p); err != nil {
			return admission.NewForbidden(at, err)
		}
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

// checkMirrorAccount says why a pod that a node runs of itself has no account: what it may do nobody has granted.
func checkMirrorAccount(p *corev1.Pod) error {
	if p.Spec.ServiceAccountName != "" {
		return errors.New("a mirror pod may not reference service accounts")
	}
	if nodeauth.NamesAny(&p.Spec, secretsResource) {
		return errors.New("a mirror pod may not reference secrets")
	}
	for i := range p.Spec.Volumes {
		for _, s := range nodeauth.Projections(&p.Spec.Volumes[i]) {
			if s.ServiceAccountToken != nil {
				return errors.New("a mirror pod may not use ServiceAccountToken volume projections")
			}
		}
	}
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
		idle(ctx)
		select {
		case <-time.After(defaultAccountPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
