package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc/pki"
)

var certificatesResource = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}

const (
	// signedLife is how long a certificate is good if its request does not say.
	signedLife = 365 * 24 * time.Hour
	// signedLifeMin is the least that a request may ask for.
	signedLifeMin = 10 * time.Minute
)

// signRequests signs approved requests for certificates, for one term.
func (s *Server) signRequests(ctx context.Context) error {
	return s.follow(ctx, certificatesResource, func(ctx context.Context, obj runtime.Object) {
		r := obj.(*certificatesv1.CertificateSigningRequest)
		next, err := s.signed(r)
		if next == nil && err == nil {
			return
		}
		if err == nil {
			err = s.propose(ctx, &ops.Put{Resource: certificatesResource, Object: next, Expect: revisionOf(r)})
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("cannot answer a request for a certificate", "request", r.Name, "signer", r.Spec.SignerName, "error", err)
		}
	})
}

// signed is the request with its certificate, or with the reason why there is none; nil if there is nothing to do.
func (s *Server) signed(r *certificatesv1.CertificateSigningRequest) (*certificatesv1.CertificateSigningRequest, error) {
	rule, ours := signerRules[r.Spec.SignerName]
	if !ours || len(r.Status.Certificate) > 0 || !hasVerdict(r, certificatesv1.CertificateApproved) ||
		hasVerdict(r, certificatesv1.CertificateDenied) || hasVerdict(r, certificatesv1.CertificateFailed) {
		return nil, nil
	}
	ca, err := s.meta.ca()
	if err != nil {
		return nil, err
	}
	next := r.DeepCopy()
	if next.Status.Certificate, err = sign(ca, r, rule, s.now()); err != nil {
		now := metav1.NewTime(s.now())
		next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateFailed,
			Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error(), LastUpdateTime: now, LastTransitionTime: now})
	}
	return next, nil
}

func hasVerdict(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == t && c.Status == corev1.ConditionTrue
	})
}

func sign(ca *pki.CA, r *certificatesv1.CertificateSigningRequest, rule signerRule, now time.Time) ([]byte, error) {
	q, err := pki.ParseUserRequest(r.Spec.Request)
	if err != nil {
		return nil, err
	}
	if err := rule.check(q, r.Spec.Usages); err != nil {
		return nil, err
	}
	usage, extended, err := usagesOf(r.Spec.Usages)
	if err != nil {
		return nil, err
	}
	life := signedLife
	if n := r.Spec.ExpirationSeconds; n != nil {
		life = min(life, max(signedLifeMin, time.Duration(*n)*time.Second))
	}
	return ca.SignUser(q, usage, extended, life, now)
}

// signerRule is what a built-in signer signs (Kubernetes' documentation, "Kubernetes signers").
type signerRule struct {
	required certificatesv1.KeyUsage
	node     bool // the subject is a node
	names    func(dns, ip, email, uri int) error
}

var signerRules = map[string]signerRule{
	certificatesv1.KubeAPIServerClientSignerName:        {required: certificatesv1.UsageClientAuth, names: anyNames},
	certificatesv1.KubeAPIServerClientKubeletSignerName: {required: certificatesv1.UsageClientAuth, node: true, names: noNames},
	certificatesv1.KubeletServingSignerName:             {required: certificatesv1.UsageServerAuth, node: true, names: hostNames},
}

func anyNames(int, int, int, int) error { return nil }

func noNames(dns, ip, email, uri int) error {
	if dns+ip+email+uri > 0 {
		return errors.New("no alternative names are allowed for this signer")
	}
	return nil
}

func hostNames(dns, ip, email, uri int) error {
	if email+uri > 0 || dns+ip == 0 {
		return errors.New("this signer needs DNS or IP alternative names, and no others")
	}
	return nil
}

func (s signerRule) check(q *pki.UserRequest, usages []certificatesv1.KeyUsage) error {
	allowed := []certificatesv1.KeyUsage{s.required, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	for _, u := range usages {
		if !slices.Contains(allowed, u) {
			return fmt.Errorf("the usage %q is not allowed for this signer", u)
		}
	}
	if !slices.Contains(usages, s.required) {
		return fmt.Errorf("the usage %q is needed for this signer", s.required)
	}
	subject := q.Subject()
	if s.node && (!slices.Equal(subject.Organization, []string{user.NodesGroup}) || !strings.HasPrefix(subject.CommonName, nodeUserPrefix)) {
		return fmt.Errorf("the subject must be of the organization %s with a name that begins with %s", user.NodesGroup, nodeUserPrefix)
	}
	return s.names(q.Names())
}

const nodeUserPrefix = "system:node:"

var keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageDigitalSignature: x509.KeyUsageDigitalSignature, certificatesv1.UsageKeyEncipherment: x509.KeyUsageKeyEncipherment,
}

var extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageClientAuth: x509.ExtKeyUsageClientAuth, certificatesv1.UsageServerAuth: x509.ExtKeyUsageServerAuth,
}

// usagesOf translates the usages that the signers know.
func usagesOf(list []certificatesv1.KeyUsage) (usage x509.KeyUsage, extended []x509.ExtKeyUsage, err error) {
	for _, u := range list {
		if k, ok := keyUsages[u]; ok {
			usage |= k
			continue
		}
		x, ok := extendedUsages[u]
		if !ok {
			return 0, nil, fmt.Errorf("the usage %q is not known", u)
		}
		extended = append(extended, x)
	}
	return usage, extended, nil
}

// Signing requests are removed some time after they were answered, or were not (Kubernetes' documentation).
const (
	answeredKept   = time.Hour
	unansweredKept = 24 * time.Hour
)

// staleRequests are those that nobody needs any more.
func (s *Server) staleRequests() []ops.Op {
	var out []ops.Op
	s.state.Table(certificatesResource).Ascend("", "", func(_, name string, obj runtime.Object) bool {
		r := obj.(*certificatesv1.CertificateSigningRequest)
		if s.now().After(staleAt(r)) {
			out = append(out, &ops.Delete{Resource: certificatesResource, Name: name, Expect: revisionOf(obj)})
		}
		return true
	})
	return out
}

func staleAt(r *certificatesv1.CertificateSigningRequest) time.Time {
	at := r.CreationTimestamp.Add(unansweredKept)
	for _, c := range r.Status.Conditions {
		if t := c.LastUpdateTime.Add(answeredKept); c.Status == corev1.ConditionTrue && t.Before(at) {
			at = t
		}
	}
	return at
}
