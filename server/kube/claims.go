package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/peapod-sh/peapod/api"
)

var (
	deviceClaimsResource         = schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}
	deviceClaimTemplatesResource = schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaimtemplates"}
)

// newDeviceClaims makes the storages of claims to devices, and of their templates. Those that go past all other claims need a
// namespace that allows it, which is said together with all other faults of the object.
func (s *Server) newDeviceClaims(r resource, out served) rest.Storage {
	st := deviceClaimStrategy{newStrategy(r.kind), state{s.config.Store}}
	r.Store.CreateStrategy = st
	if r.kind.HasStatus {
		status := deviceClaimStatusStrategy{statusStrategy{newStrategy(r.kind)}, st.state}
		out[r.kind.Resource+"/status"] = part{withStrategy(r.Store, status, status)}
	}
	return r
}

type deviceClaimStrategy struct {
	strategy
	state state
}

func (s deviceClaimStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return append(s.state.adminFaults(obj, accessor(obj).GetNamespace()), s.strategy.Validate(ctx, obj)...)
}

// deviceClaimStatusStrategy looks at what is allocated for the first time: what a claim was given it keeps.
type deviceClaimStatusStrategy struct {
	statusStrategy
	state state
}

func (s deviceClaimStatusStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := s.statusStrategy.ValidateUpdate(ctx, obj, old)
	c, was := obj.(*resourcev1.ResourceClaim), old.(*resourcev1.ResourceClaim)
	if was.Status.Allocation != nil {
		return errs
	}
	return append(s.state.adminFaults(&resourcev1.ResourceClaim{Status: c.Status}, c.Namespace), errs...)
}

func (s state) adminFaults(obj runtime.Object, namespace string) field.ErrorList {
	var labels map[string]string
	if n, ok := s.Object(namespacesResource, "", namespace).(*corev1.Namespace); ok {
		labels = n.Labels
	}
	if fault := api.CheckAdminAccess(obj, labels); fault != nil {
		return field.ErrorList{fault}
	}
	return nil
}
