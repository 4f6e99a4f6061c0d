package kube

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// The kinds of subresources are their own internal versions, as those of the table are.
func init() {
	internal := func(group string) schema.GroupVersion {
		return schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}
	}
	api.Scheme.AddKnownTypes(internal("autoscaling"), &autoscalingv1.Scale{})
	api.Scheme.AddKnownTypes(internal(authenticationv1.GroupName), &authenticationv1.TokenRequest{}, &authenticationv1.TokenReview{}, &authenticationv1.SelfSubjectReview{})
	api.Scheme.AddKnownTypes(internal(authorizationv1.GroupName), &authorizationv1.SubjectAccessReview{}, &authorizationv1.LocalSubjectAccessReview{},
		&authorizationv1.SelfSubjectAccessReview{}, &authorizationv1.SelfSubjectRulesReview{})
	api.Scheme.AddKnownTypes(internal("policy"), &policyv1.Eviction{})
	api.Scheme.AddKnownTypes(internal(""), &corev1.Binding{}, &corev1.ComponentStatus{}, &corev1.ComponentStatusList{}, &corev1.PodLogOptions{}, &corev1.PodExecOptions{},
		&corev1.PodAttachOptions{}, &corev1.PodPortForwardOptions{}, &corev1.PodProxyOptions{},
		&corev1.ServiceProxyOptions{}, &corev1.NodeProxyOptions{})
}
