package server

import (
	"context"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
)

// servingGlance is how often is looked whether this server serves the API yet.
const servingGlance = 50 * time.Millisecond

var validatingPolicies = schema.GroupResource{Group: admissionv1.GroupName, Resource: "validatingadmissionpolicies"}

// checkPolicies writes into the status of each validating policy which of its expressions do not fit what it matches, once for each
// generation, for one term. Mutating policies have no status, here as in Kubernetes.
func (s *Server) checkPolicies(ctx context.Context) error {
	serving, err := s.serving(ctx)
	if err != nil {
		return err
	}
	return s.follow(ctx, validatingPolicies, func(ctx context.Context, obj runtime.Object) {
		p := obj.(*admissionv1.ValidatingAdmissionPolicy)
		if p.DeletionTimestamp != nil || p.Status.ObservedGeneration >= p.Generation {
			return
		}
		warnings, err := serving.CheckTypes(p)
		if err != nil {
			s.log.Warn("the expressions of a policy are not checked against what it matches", "policy", p.Name, "error", err)
		}
		next := p.DeepCopy()
		next.Status.ObservedGeneration = p.Generation
		next.Status.TypeChecking = &admissionv1.TypeChecking{ExpressionWarnings: warnings}
		// A conflict comes back as the change that caused it.
		if err := s.attempt(ctx, []ops.Op{&ops.Put{Resource: validatingPolicies, Object: next, Expect: revisionOf(p)}}); err != nil && ctx.Err() == nil {
			s.log.Debug("cannot write the status of a policy", "policy", p.Name, "error", err)
		}
	})
}

// serving waits until this server has its part of the API.
func (s *Server) serving(ctx context.Context) (*kube.Server, error) {
	ticker := time.NewTicker(servingGlance)
	defer ticker.Stop()
	for {
		if serving := s.api.Load(); serving != nil {
			return serving, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
