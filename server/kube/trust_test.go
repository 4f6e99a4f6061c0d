package kube_test

import (
	"context"
	"crypto/x509/pkix"
	"encoding/json"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// kindObject is the object of a kind in testdata/kinds.yaml.
func kindObject[T any](t *testing.T, kind string) *T {
	t.Helper()
	for _, o := range kindObjects(t) {
		if o.GetKind() == kind {
			out := new(T)
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, out); err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	t.Fatalf("no %s in testdata/kinds.yaml", kind)
	return nil
}

// grant lets a user do what the rules say, in every namespace.
func (h *harness) grant(user string, rules ...rbacv1.PolicyRule) kubernetes.Interface {
	h.Helper()
	ctx, r := context.Background(), h.client.RbacV1()
	if _, err := r.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		h.Fatal(err)
	}
	b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: []rbacv1.Subject{{Kind: "User", Name: user}}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: user}}
	if _, err := r.ClusterRoleBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
		h.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(h.user(pkix.Name{CommonName: user}))
}

func onCertificates(resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{certificatesv1.GroupName}, Resources: []string{resource}}
}

func onSigner(name, verb string) rbacv1.PolicyRule {
	rule := onCertificates("signers", verb)
	rule.ResourceNames = []string{name}
	return rule
}

// Who writes a signer's trust anchors must be allowed to attest for the signer; owners and finalizers are anybody's.
func TestTrustAnchorsAreAttestedFor(t *testing.T) {
	h := start(t, withPolicy)
	ctx := context.Background()
	write := onCertificates("clustertrustbundles", "create", "update", "patch", "get")
	plain := h.grant("plain", write).CertificatesV1().ClusterTrustBundles()
	other := h.grant("other", write, onSigner("a.b/d", "attest")).CertificatesV1().ClusterTrustBundles()
	attester := h.grant("attester", write, onSigner("a.b/*", "attest")).CertificatesV1().ClusterTrustBundles()
	refused := func(what string, err error) {
		t.Helper()
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `user not permitted to attest for signerName "a.b/c"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	bundle := kindObject[certificatesv1.ClusterTrustBundle](t, "ClusterTrustBundle")
	_, err := plain.Create(ctx, bundle, metav1.CreateOptions{})
	refused("create", err)
	_, err = other.Create(ctx, bundle, metav1.CreateOptions{})
	refused("create for another signer", err)
	bundle.APIVersion, bundle.Kind = "certificates.k8s.io/v1", "ClusterTrustBundle"
	text, err := json.Marshal(bundle)
	if err != nil {
		t.Fatal(err)
	}
	_, err = plain.Patch(ctx, bundle.Name, types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: "m"})
	refused("create by apply", err)
	unowned := bundle.DeepCopy()
	unowned.Name, unowned.Spec.SignerName = "x", ""
	if _, err := plain.Create(ctx, unowned, metav1.CreateOptions{}); err != nil {
		t.Errorf("of no signer: %v", err)
	}
	made, err := attester.Create(ctx, bundle, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Finalizers = []string{"a.b/f"}
	if made, err = plain.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("finalizers: %v", err)
	}
	made.Labels = map[string]string{"a": "b"}
	_, err = plain.Update(ctx, made, metav1.UpdateOptions{})
	refused("update", err)
	_, err = plain.Patch(ctx, made.Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	refused("patch", err)
	if _, err := attester.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
}

// Who answers a pod's request must be allowed to sign for the signer.
func TestPodCertificatesAreSigned(t *testing.T) {
	h := start(t, withPolicy)
	ctx := context.Background()
	write := onCertificates("podcertificaterequests/status", "update")
	plain := h.grant("plain", write, onSigner("a.b/d", "sign")).CertificatesV1().PodCertificateRequests("default")
	signer := h.grant("signer", write, onSigner("a.b/c", "sign")).CertificatesV1().PodCertificateRequests("default")
	all := h.client.CertificatesV1().PodCertificateRequests("default")
	made, err := all.Create(ctx, kindObject[certificatesv1.PodCertificateRequest](t, "PodCertificateRequest"), metav1.CreateOptions{})
	if err != nil || *made.Spec.MaxExpirationSeconds != 86400 {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := plain.UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Errorf("an answer that says nothing: %v", err)
	}
	made.Status.Conditions = []metav1.Condition{{Type: "Denied", Status: metav1.ConditionTrue, Reason: "No", LastTransitionTime: metav1.Now()}}
	if _, err := plain.UpdateStatus(ctx, made, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) ||
		!strings.Contains(err.Error(), `spec.signerName: Forbidden: User "plain" is not permitted to "sign" for signer "a.b/c"`) {
		t.Errorf("answered by another: %v", err)
	}
	if _, err := signer.UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
	for selector, n := range map[string]int{"spec.signerName=a.b/c,spec.podName=p,spec.nodeName=node1": 1, "spec.nodeName=node2": 0} {
		if list, err := all.List(ctx, metav1.ListOptions{FieldSelector: selector}); err != nil || len(list.Items) != n {
			t.Errorf("%s: %+v, %v", selector, list, err)
		}
	}
}
