package kube

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/peapod-sh/peapod/server/nodeauth"
)

// kubeletRule keeps users of the group system:nodes to their own node and its pods. The authorizer has said which objects they may write;
// this looks at what they write (NodeRestriction in Kubernetes).
type kubeletRule struct {
	state
	authorizer authorizer.Authorizer
}

var (
	leasesResource       = schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}
	csiNodesResource     = schema.GroupResource{Group: storagev1.GroupName, Resource: "csinodes"}
	deviceSlicesResource = schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceslices"}
	signingResource      = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}
)

func (r kubeletRule) mutate(ctx context.Context, at admission.Attributes) error {
	node, is := nodeauth.NodeOf(at.GetUserInfo())
	if !is {
		return nil
	}
	if node == "" {
		return admission.NewForbidden(at, fmt.Errorf("could not determine node from user %q", at.GetUserInfo().GetName()))
	}
	err := r.check(ctx, node, at)
	if status := apierrors.APIStatus(nil); err == nil || errors.As(err, &status) {
		return err
	}
	return admission.NewForbidden(at, err)
}

func (r kubeletRule) check(ctx context.Context, node string, at admission.Attributes) error {
	switch at.GetResource().GroupResource() {
	case podsResource:
		return r.checkPods(node, at)
	case nodesResource:
		return checkNode(node, at)
	case claimsResource:
		return checkClaimStatus(node, at)
	case accountsResource:
		return r.checkToken(ctx, node, at)
	case leasesResource:
		return checkLease(node, at)
	case csiNodesResource:
		if newName(at) != node {
			return errors.New("can only access CSINode with the same name as the requesting node")
		}
	case deviceSlicesResource:
		return r.checkSlice(node, at)
	case signingResource:
		return checkSigning(node, at)
	case podCertificatesResource:
		return r.checkPodCertificate(node, at)
	}
	return nil
}

// newName is the name that a request is for, also of an object that is only being created.
func newName(at admission.Attributes) string {
	if o := at.GetObject(); at.GetName() == "" && o != nil {
		return accessor(o).GetName()
	}
	return at.GetName()
}

func (r kubeletRule) checkPods(node string, at admission.Attributes) error {
	op := at.GetOperation()
	switch sub := at.GetSubresource(); {
	case sub == "" && op == admission.Create:
		p, _ := at.GetObject().(*corev1.Pod)
		return r.checkMirror(node, p)
	case sub == "" && op == admission.Delete:
		return r.ownPod(at, at.GetName(), func(p *corev1.Pod) error {
			return unless(p.Spec.NodeName == node, "node %q can only delete pods with spec.nodeName set to itself", node)
		})
	case sub == "":
		return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", op, node)
	case sub == "status" && op == admission.Update:
		return checkPodStatus(node, at)
	case sub == "eviction" && op == admission.Create:
		name := at.GetName()
		if e, ok := at.GetObject().(*policyv1.Eviction); ok {
			name = cmp.Or(name, e.Name)
		}
		return r.ownPod(at, name, func(p *corev1.Pod) error {
			return unless(p.Spec.NodeName == node, "node %s can only evict pods with spec.nodeName set to itself", node)
		})
	case sub == "status" || sub == "eviction":
		return fmt.Errorf("unexpected operation %q", op)
	default:
		return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", sub)
	}
}

func unless(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// ownPod asks about a pod that is there; of one that is not it says so.
func (r kubeletRule) ownPod(at admission.Attributes, name string, ask func(*corev1.Pod) error) error {
	p, ok := r.Object(podsResource, at.GetNamespace(), name).(*corev1.Pod)
	if !ok {
		return apierrors.NewNotFound(podsResource, name)
	}
	return ask(p)
}

// checkMirror lets a node make only the images of pods that it runs of itself, which lead to no other object.
func (r kubeletRule) checkMirror(node string, p *corev1.Pod) error {
	if _, is := p.Annotations[corev1.MirrorPodAnnotationKey]; !is {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if p.Spec.NodeName != node {
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node)
	}
	if err := r.checkMirrorOwner(node, p); err != nil {
		return err
	}
	named := ""
	switch {
	case p.Spec.ServiceAccountName != "":
		named = "a service account"
	case nodeauth.NamesAny(&p.Spec, secretsResource):
		named = "secrets"
	case nodeauth.NamesAny(&p.Spec, schema.GroupResource{Resource: "configmaps"}):
		named = "configmaps"
	case len(p.Spec.ResourceClaims) > 0:
		named = "resourceclaims"
	default:
		named = mirrorVolume(p.Spec.Volumes)
	}
	return unless(named == "", "node %q can not create pods that reference %s", node, named)
}

// mirrorVolume is what a volume leads to that no mirror pod may have.
func mirrorVolume(list []corev1.Volume) string {
	for i := range list {
		if list[i].PersistentVolumeClaim != nil || list[i].Ephemeral != nil {
			return "persistentvolumeclaims"
		}
		for _, s := range nodeauth.Projections(&list[i]) {
			switch {
			case s.ClusterTrustBundle != nil:
				return "clustertrustbundles"
			case s.ServiceAccountToken != nil:
				return "a service account"
			case s.PodCertificate != nil:
				return "podcertificates"
			}
		}
	}
	return ""
}

func (r kubeletRule) checkMirrorOwner(node string, p *corev1.Pod) error {
	if len(p.OwnerReferences) > 1 {
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node)
	}
	if len(p.OwnerReferences) == 0 {
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
	}
	switch o := p.OwnerReferences[0]; {
	case o.APIVersion != corev1.SchemeGroupVersion.String() || o.Kind != "Node" || o.Name != node:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
	case o.Controller == nil || !*o.Controller:
		return fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", node)
	case o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion:
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node)
	default:
		n, ok := r.Object(nodesResource, "", node).(*corev1.Node)
		if !ok {
			return apierrors.NewNotFound(nodesResource, node)
		}
		return unless(o.UID == n.UID, "node %s UID mismatch: expected %s got %s", node, o.UID, n.UID)
	}
}

func checkPodStatus(node string, at admission.Attributes) error {
	p, ok := at.GetObject().(*corev1.Pod)
	old, was := at.GetOldObject().(*corev1.Pod)
	switch {
	case !ok || !was:
		return fmt.Errorf("unexpected type %T", at.GetObject())
	case old.Spec.NodeName != node:
		return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node)
	case !labels.Equals(old.Labels, p.Labels):
		return fmt.Errorf("node %q cannot update labels through pod status", node)
	case !equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, p.Status.ResourceClaimStatuses):
		return fmt.Errorf("node %q cannot update resource claim statues", node)
	case !equality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, p.Status.ExtendedResourceClaimStatus):
		return fmt.Errorf("node %q cannot update extended resource claim status", node)
	}
	return nil
}

func checkNode(node string, at admission.Attributes) error {
	if name := newName(at); name != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, name)
	}
	n, _ := at.GetObject().(*corev1.Node)
	old, _ := at.GetOldObject().(*corev1.Node)
	switch at.GetOperation() {
	case admission.Create:
		if n.Spec.ConfigSource != nil {
			return fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if list := notOfKubelets(n.Labels, nil); len(list) > 0 {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(list, ", "))
		}
		return unless(len(n.OwnerReferences) == 0, "node %q is not allowed to set ownerReferences", node)
	case admission.Update:
		if n.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(n.Spec.ConfigSource, old.Spec.ConfigSource) {
			return fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", node)
		}
		if !equality.Semantic.DeepEqual(n.Spec.Taints, old.Spec.Taints) {
			return fmt.Errorf("node %q is not allowed to modify taints", node)
		}
		if list := notOfKubelets(n.Labels, old.Labels); len(list) > 0 {
			return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(list, ", "))
		}
		return unless(equality.Semantic.DeepEqual(n.OwnerReferences, old.OwnerReferences), "node %q is not allowed to modify ownerReferences", node)
	}
	return nil
}

// kubeletLabels are the labels of Kubernetes' own domains that a node says of itself.
var kubeletLabels = []string{
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone,
	corev1.LabelFailureDomainBetaRegion, corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable,
	corev1.LabelArchStable, corev1.LabelWindowsBuild, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// notOfKubelets are the changed labels that are not for nodes to say, since what runs where may depend on them.
func notOfKubelets(now, was map[string]string) (out []string) {
	changed := map[string]bool{}
	for k, v := range now {
		if w, ok := was[k]; !ok || w != v {
			changed[k] = true
		}
	}
	for k := range was {
		if _, ok := now[k]; !ok {
			changed[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(changed)) {
		domain, _, _ := strings.Cut(k, "/")
		if domain == k {
			continue
		}
		restricted := within(domain, corev1.LabelNamespaceNodeRestriction)
		ofKubernetes := within(domain, "kubernetes.io") || within(domain, "k8s.io")
		ofKubelets := slices.Contains(kubeletLabels, k) || within(domain, corev1.LabelNamespaceSuffixKubelet) || within(domain, corev1.LabelNamespaceSuffixNode)
		if restricted || ofKubernetes && !ofKubelets {
			out = append(out, k)
		}
	}
	return out
}

func within(domain, of string) bool { return domain == of || strings.HasSuffix(domain, "."+of) }

func checkClaimStatus(node string, at admission.Attributes) error {
	if at.GetSubresource() != "status" {
		return errors.New("may only update PVC status")
	}
	c, ok := at.GetObject().(*corev1.PersistentVolumeClaim)
	old, was := at.GetOldObject().(*corev1.PersistentVolumeClaim)
	if at.GetOperation() != admission.Update || !ok || !was {
		return fmt.Errorf("unexpected operation %q", at.GetOperation())
	}
	return unless(equality.Semantic.DeepEqual(notOfNodes(c), notOfNodes(old)),
		"node %q is not allowed to update fields other than status.quantity and status.conditions", node)
}

// notOfNodes is a claim without what a node may write.
func notOfNodes(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	c = c.DeepCopy()
	c.ResourceVersion, c.ManagedFields = "", nil
	c.Status.Capacity, c.Status.Conditions = nil, nil
	c.Status.AllocatedResourceStatuses, c.Status.AllocatedResources = nil, nil
	return c
}

func checkLease(node string, at admission.Attributes) error {
	if at.GetNamespace() != corev1.NamespaceNodeLease {
		return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	return unless(newName(at) == node, "can only access node lease with the same name as the requesting node")
}

func (r kubeletRule) checkSlice(node string, at admission.Attributes) error {
	of := func(s *resourcev1.ResourceSlice) bool { return s.Spec.NodeName != nil && *s.Spec.NodeName == node }
	switch s, _ := at.GetObject().(*resourcev1.ResourceSlice); at.GetOperation() {
	case admission.Create:
		return unless(of(s), "can only create ResourceSlice with the same NodeName as the requesting node")
	case admission.Delete:
		old, ok := r.Object(deviceSlicesResource, "", at.GetName()).(*resourcev1.ResourceSlice)
		return unless(!ok || of(old), "can only delete ResourceSlice with the same NodeName as the requesting node")
	}
	return nil // its node never changes
}

// checkSigning lets a node ask only for certificates with its own name.
func checkSigning(node string, at admission.Attributes) error {
	c, ok := at.GetObject().(*certificatesv1.CertificateSigningRequest)
	if at.GetOperation() != admission.Create || at.GetSubresource() != "" || !ok {
		return nil
	}
	if s := c.Spec.SignerName; s != certificatesv1.KubeletServingSignerName && s != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	block, _ := pem.Decode(c.Spec.Request)
	if block == nil {
		return errors.New("unable to parse csr: PEM block type must be CERTIFICATE REQUEST")
	}
	q, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("unable to parse csr: %w", err)
	}
	name := at.GetUserInfo().GetName()
	return unless(q.Subject.CommonName == name, "can only create a node CSR with CN=%s", name)
}

func (r kubeletRule) checkPodCertificate(node string, at admission.Attributes) error {
	q, ok := at.GetObject().(*certificatesv1.PodCertificateRequest)
	if at.GetOperation() != admission.Create || at.GetSubresource() != "" || !ok {
		return nil
	}
	if string(q.Spec.NodeName) != node {
		return fmt.Errorf("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", q.Spec.NodeName, node)
	}
	return r.ownPod(at, q.Spec.PodName, func(p *corev1.Pod) error {
		_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
		switch {
		case p.UID != q.Spec.PodUID:
			return fmt.Errorf("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", p.Namespace+"/"+p.Name, q.Spec.PodUID, p.UID)
		case p.Spec.NodeName != node:
			return fmt.Errorf("pod %q is not running on node %q", p.Namespace+"/"+p.Name, node)
		case mirror:
			return fmt.Errorf("pod %q is a mirror pod", p.Namespace+"/"+p.Name)
		case p.Spec.ServiceAccountName != q.Spec.ServiceAccountName:
			return fmt.Errorf("PodCertificateRequest for pod %q contains service account name (%q) that differs from running pod (%q)", p.Namespace+"/"+p.Name, q.Spec.ServiceAccountName, p.Spec.ServiceAccountName)
		}
		return nil
	})
}
