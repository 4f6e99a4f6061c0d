package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc/pki"
)

var certificatesResource = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}

// newCertificates makes the storages of signing requests, whose approval and whose certificate are written by different people.
func (s *Server) newCertificates(r resource, out served) rest.Storage {
	r.Store.CreateStrategy = requestStrategy{newStrategy(r.kind)}
	approval := approvalStrategy{newStrategy(r.kind)}
	may := signers{s.config.Authorizer}
	out["certificatesigningrequests/approval"] = guarded{part{withStrategy(r.Store, approval, approval)}, may.approve}
	out["certificatesigningrequests/status"] = guarded{newStatus(r.Store, r.kind), may.sign}
	return r
}

// requestStrategy notes who asks.
type requestStrategy struct{ strategy }

func (s requestStrategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	s.strategy.PrepareForCreate(ctx, obj)
	if u, ok := request.UserFrom(ctx); ok {
		api.SetRequester(obj.(*certificatesv1.CertificateSigningRequest), u)
	}
}

// approvalStrategy is that of the approval subresource.
type approvalStrategy struct{ strategy }

func (approvalStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	api.PrepareApprovalUpdate(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest), metav1.NewTime(time.Now()))
}

func (approvalStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return distinct(api.ValidateApprovalUpdate(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest)))
}

func (s approvalStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.kind.GroupVersion.String()): fieldpath.NewSet(
		fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status", "certificate"))}
}

// guarded is a subresource that asks for more than the right to write it.
type guarded struct {
	part
	allowed func(ctx context.Context, obj, old runtime.Object) error
}

func (g guarded) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return g.part.Update(ctx, name, info, create, func(ctx context.Context, obj, old runtime.Object) error {
		if err := g.allowed(ctx, obj, old); err != nil {
			return err
		}
		return update(ctx, obj, old)
	}, force, o)
}

// signers asks whether somebody may act for a signer: the verbs approve, sign and attest on certificates.k8s.io/signers.
type signers struct{ authorizer authorizer.Authorizer }

func (s signers) approve(ctx context.Context, _, old runtime.Object) error {
	return s.must(ctx, "approve", old.(*certificatesv1.CertificateSigningRequest))
}

func (s signers) sign(ctx context.Context, obj, old runtime.Object) error {
	r, was := obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest)
	failed := func(r *certificatesv1.CertificateSigningRequest) bool {
		return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
			return c.Type == certificatesv1.CertificateFailed
		})
	}
	if string(r.Status.Certificate) == string(was.Status.Certificate) && failed(r) == failed(was) {
		return nil
	}
	return s.must(ctx, "sign", was)
}

func (s signers) must(ctx context.Context, verb string, r *certificatesv1.CertificateSigningRequest) error {
	if ok, err := s.may(ctx, verb, r.Spec.SignerName); err != nil || ok {
		return err
	}
	return apierrors.NewForbidden(certificatesResource, r.Name, fmt.Errorf("user not permitted to %s requests with signerName %q", verb, r.Spec.SignerName))
}

// may asks for the right to the one signer, then to all of its domain.
func (s signers) may(ctx context.Context, verb, signer string) (bool, error) {
	u, _ := request.UserFrom(ctx)
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := s.authorizer.Authorize(ctx, authorizer.AttributesRecord{User: u, Verb: verb, Name: name,
			APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true})
		if err != nil {
			return false, apierrors.NewInternalError(err)
		}
		if decision == authorizer.DecisionAllow {
			return true, nil
		}
	}
	return false, nil
}

// certificateRule refuses what would make everybody who approves requests a master of the cluster.
type certificateRule struct{}

func (certificateRule) mutate(_ context.Context, at admission.Attributes) error {
	r := created[certificatesv1.CertificateSigningRequest](at, certificatesResource)
	if r == nil || r.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := pki.ParseUserRequest(r.Spec.Request)
	if err != nil {
		return nil // validation says it better
	}
	if slices.Contains(parsed.Subject().Organization, user.SystemPrivilegedGroup) {
		return apierrors.NewForbidden(certificatesResource, r.Name, errors.New("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"))
	}
	return nil
}
