package jobs

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// session is a connection to a cluster with the namespace that the user means.
type session struct {
	objects   dynamic.Interface
	typed     kubernetes.Interface
	mapper    meta.RESTMapper
	namespace string
}

// connect resolves the kubeconfig as kubectl does.
func (o *options) connect() (*session, error) {
	config, err := o.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster (see --kubeconfig and KUBECONFIG): %w", err)
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 100, 200 // the server has its own limits
	s := &session{}
	if s.objects, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	if s.typed, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	if s.mapper, err = o.config.ToRESTMapper(); err != nil {
		return nil, fmt.Errorf("asking the cluster for its kinds: %w", err)
	}
	if s.namespace, _, err = o.config.ToRawKubeConfigLoader().Namespace(); err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return s, nil
}

// resource is the place of an object in the API; it gives the object its namespace if it has none.
func (s *session) resource(_ context.Context, u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := u.GroupVersionKind()
	m, err := s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("%s %s: the cluster has no such kind: %w", gvk.Kind, u.GetName(), err)
	}
	if m.Scope.Name() == meta.RESTScopeNameRoot {
		return s.objects.Resource(m.Resource), nil
	}
	if u.GetNamespace() == "" {
		u.SetNamespace(s.namespace)
	}
	return s.objects.Resource(m.Resource).Namespace(u.GetNamespace()), nil
}

// inNamespace is where a job is: where its file says, else where the user is.
func (s *session) inNamespace(job string) string {
	if job != "" {
		return job
	}
	return s.namespace
}
