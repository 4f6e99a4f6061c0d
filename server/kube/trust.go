package kube

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

var (
	bundlesResource         = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "clustertrustbundles"}
	podCertificatesResource = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "podcertificaterequests"}
)

// bundles is the storage of trust anchors: who says which certificates to trust for a signer must be allowed to attest for it.
type bundles struct {
	resource
	signers signers
}

func (b bundles) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	return b.resource.Create(ctx, obj, b.attestedNew(validate), o)
}

// Update may create, when it serves an apply.
func (b bundles) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return b.resource.Update(ctx, name, info, b.attestedNew(create), func(ctx context.Context, obj, old runtime.Object) error {
		if !sameButForOwners(obj.(*certificatesv1.ClusterTrustBundle), old.(*certificatesv1.ClusterTrustBundle)) {
			if err := b.attested(ctx, obj); err != nil {
				return err
			}
		}
		return update(ctx, obj, old)
	}, force, o)
}

// attestedNew checks a new bundle before anything else does.
func (b bundles) attestedNew(validate rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error {
		if err := b.attested(ctx, obj); err != nil || validate == nil {
			return err
		}
		return validate(ctx, obj)
	}
}

// attested looks at the object as it will be: that its signer stays the same is for validation to see.
func (b bundles) attested(ctx context.Context, obj runtime.Object) error {
	t := obj.(*certificatesv1.ClusterTrustBundle)
	if t.Spec.SignerName == "" {
		return nil
	}
	if ok, err := b.signers.may(ctx, "attest", t.Spec.SignerName); err != nil || ok {
		return err
	}
	return apierrors.NewForbidden(bundlesResource, t.Name, fmt.Errorf("user not permitted to attest for signerName %q", t.Spec.SignerName))
}

// sameButForOwners lets the collector of garbage, who may attest for nobody, write what it must: owners and finalizers.
func sameButForOwners(b, old *certificatesv1.ClusterTrustBundle) bool {
	c := old.DeepCopy()
	c.OwnerReferences, c.Finalizers, c.ManagedFields = b.OwnerReferences, b.Finalizers, b.ManagedFields
	return equality.Semantic.DeepEqual(b, c)
}

// podCertificateStatus is the strategy of the answers to requests of pods: only who may sign for the signer answers.
type podCertificateStatus struct {
	statusStrategy
	signers signers
}

func (s *Server) newPodCertificateStatus(r resource) part {
	st := podCertificateStatus{statusStrategy{newStrategy(r.kind)}, signers{s.config.Authorizer}}
	return part{withStrategy(r.Store, st, st)}
}

func (s podCertificateStatus) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	if errs := s.statusStrategy.ValidateUpdate(ctx, obj, old); len(errs) > 0 {
		return errs
	}
	r, was := obj.(*certificatesv1.PodCertificateRequest), old.(*certificatesv1.PodCertificateRequest)
	if equality.Semantic.DeepEqual(r.Status, was.Status) {
		return nil
	}
	path := field.NewPath("spec", "signerName")
	switch ok, err := s.signers.may(ctx, "sign", was.Spec.SignerName); {
	case err != nil:
		return field.ErrorList{field.InternalError(path, err)}
	case !ok:
		name := ""
		if u, known := request.UserFrom(ctx); known {
			name = u.GetName()
		}
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", name, was.Spec.SignerName))}
	}
	return nil
}
