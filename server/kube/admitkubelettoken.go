package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/peapod-sh/peapod/server/nodeauth"
)

var (
	volumesResource    = schema.GroupResource{Resource: "persistentvolumes"}
	csiDriversResource = schema.GroupResource{Group: storagev1.GroupName, Resource: "csidrivers"}
)

// checkToken lets a node have only tokens that end with a pod of its own, for audiences that the pod needs.
func (r kubeletRule) checkToken(ctx context.Context, node string, at admission.Attributes) error {
	q, ok := at.GetObject().(*authenticationv1.TokenRequest)
	if at.GetOperation() != admission.Create || at.GetSubresource() != "token" || !ok {
		return nil
	}
	to := q.Spec.BoundObjectRef
	if to == nil || to.APIVersion != "v1" || to.Kind != "Pod" || to.Name == "" {
		return errors.New("node requested token not bound to a pod")
	}
	if to.UID == "" {
		return errors.New("node requested token with a pod binding without a uid")
	}
	return r.ownPod(at, to.Name, func(p *corev1.Pod) error {
		switch {
		case p.UID != to.UID:
			return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", to.UID)
		case p.Spec.NodeName != node:
			return errors.New("node requested token bound to a pod scheduled on a different node")
		}
		return r.checkAudience(ctx, p, q.Spec.Audiences, at)
	})
}

// checkAudience allows the audience that a volume of the pod asks for, and one that the policy allows nodes to ask for.
func (r kubeletRule) checkAudience(ctx context.Context, p *corev1.Pod, audiences []string, at admission.Attributes) error {
	if len(audiences) > 1 {
		return errors.New("node may only request 0 or 1 audiences")
	}
	audience := ""
	if len(audiences) == 1 {
		audience = audiences[0]
	}
	if slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return r.wantsAudience(p, &v, audience) }) {
		return nil
	}
	if r.authorizer != nil {
		ask := authorizer.AttributesRecord{User: at.GetUserInfo(), ResourceRequest: true, Verb: "request-serviceaccounts-token-audience",
			Namespace: at.GetNamespace(), Resource: audience, Name: at.GetName(), APIVersion: "*"}
		if decision, _, err := r.authorizer.Authorize(ctx, ask); err == nil && decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return fmt.Errorf("audience %q not found in pod spec volume", audience)
}

// wantsAudience says whether a volume is to have tokens for the audience: by its own word, or by that of the driver that mounts it.
func (r kubeletRule) wantsAudience(p *corev1.Pod, v *corev1.Volume, audience string) bool {
	for _, s := range nodeauth.Projections(v) {
		if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
			return true
		}
	}
	d, ok := r.Object(csiDriversResource, "", r.driverOf(p, v)).(*storagev1.CSIDriver)
	return ok && slices.ContainsFunc(d.Spec.TokenRequests, func(t storagev1.TokenRequest) bool { return t.Audience == audience })
}

// driverOf is the CSI driver that mounts a volume; "" if none does.
func (r kubeletRule) driverOf(p *corev1.Pod, v *corev1.Volume) string {
	claim := ""
	switch {
	case v.CSI != nil:
		return v.CSI.Driver
	case v.PersistentVolumeClaim != nil:
		claim = v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		claim = p.Name + "-" + v.Name
	default:
		return ""
	}
	c, ok := r.Object(claimsResource, p.Namespace, claim).(*corev1.PersistentVolumeClaim)
	if !ok || c.Spec.VolumeName == "" {
		return ""
	}
	if pv, ok := r.Object(volumesResource, "", c.Spec.VolumeName).(*corev1.PersistentVolume); ok && pv.Spec.CSI != nil {
		return pv.Spec.CSI.Driver
	}
	return ""
}
