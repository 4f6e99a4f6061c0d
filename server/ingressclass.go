package server

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// foundIngress gives the cluster its default ingress class, once: whoever deletes it, or has another one as default, keeps it so.
func (s *Server) foundIngress(ctx context.Context) error {
	if _, done := s.state.Meta(metaIngress); done {
		return nil
	}
	class := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: api.BuiltInIngressClass, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: api.IngressController},
	}
	list := append(s.unlessThere(networkingv1.GroupName, "ingressclasses", class), &ops.PutMeta{Key: metaIngress, Value: []byte("1")})
	if err := s.propose(ctx, list...); err != nil {
		return fmt.Errorf("making the default ingress class: %w", err)
	}
	return nil
}
