package kube_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

// nodeStore shows a test's store to what authorizes nodes.
type nodeStore struct{ *kubetest.Store }

func (s nodeStore) PodsOfNode(node string) (out []*api.PodRecord) {
	for _, o := range s.objects() {
		p := o.DeepCopy()
		r := &api.PodRecord{Name: p.Name, UID: p.UID, Node: p.Spec.NodeName}
		if r.Node != node {
			continue
		}
		status, _ := p.Status.Marshal()
		r.Template, _ = api.NewPodTemplate(p)
		_ = r.SetStatus(status)
		out = append(out, r)
	}
	return out
}

func (s nodeStore) objects() (out []*corev1.Pod) {
	s.Snapshot(corev1.Resource("pods")).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		out = append(out, o.(*corev1.Pod))
		return true
	})
	return out
}

func withNodes(c *kube.Config) {
	withPolicy(c)
	c.NodeState = nodeStore{c.Store.(*kubetest.Store)}
}

func (h *harness) kubelet(node string) *kubernetes.Clientset {
	return kubernetes.NewForConfigOrDie(h.user(pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}))
}

func TestKubeletReadsWhatItsPodsName(t *testing.T) {
	h, ctx := start(t, withNodes), context.Background()
	for _, name := range []string{"named", "other"} {
		if _, err := h.client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	p := pod("p", "n1")
	p.Spec.Volumes = []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "named"}}}}
	if _, err := h.client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n1, n2 := h.kubelet("n1"), h.kubelet("n2")
	if _, err := n1.CoreV1().Secrets("default").Get(ctx, "named", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	_, err := n1.CoreV1().Secrets("default").Get(ctx, "other", metav1.GetOptions{})
	forbids(t, err, `User "system:node:n1" cannot get resource "secrets"`, "no relationship found between node 'n1' and this object")
	_, err = n2.CoreV1().Secrets("default").Get(ctx, "named", metav1.GetOptions{})
	forbids(t, err, "no relationship found between node 'n2' and this object")
	if list, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}); err != nil || len(list.Items) != 1 {
		t.Errorf("its own pods: %v", err)
	}
	_, err = n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	forbids(t, err, "can only list/watch pods with spec.nodeName field selector")
	if _, err := n1.CoreV1().Services("").List(ctx, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// Invariant 16: of all nodes it writes its own only.
func TestKubeletWritesItsOwnNode(t *testing.T) {
	h, ctx := start(t, withNodes), context.Background()
	n1, n2 := h.kubelet("n1"), h.kubelet("n2")
	labels := map[string]string{corev1.LabelHostname: "n1", "team": "a", "node-restriction.kubernetes.io/fips": "true", "unknown.kubernetes.io/x": "y"}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: labels}}
	_, err := n1.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	forbids(t, err, `node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/fips, unknown.kubernetes.io/x`)
	delete(labels, "node-restriction.kubernetes.io/fips")
	delete(labels, "unknown.kubernetes.io/x")
	node, err = n1.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = n2.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	forbids(t, err, `node "n2" is not allowed to modify node "n1"`)
	if _, err := n1.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
	node.Spec.Taints = nil
	_, err = n1.CoreV1().Nodes().Patch(ctx, "n1", types.MergePatchType, []byte(`{"spec":{"taints":null}}`), metav1.PatchOptions{})
	forbids(t, err, `node "n1" is not allowed to modify taints`)
	_, err = n1.CoreV1().Nodes().Patch(ctx, "n1", types.MergePatchType, []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/master":""}}}`), metav1.PatchOptions{})
	forbids(t, err, "is not allowed to modify labels: node-role.kubernetes.io/master")
	if _, err := n1.CoreV1().Nodes().Patch(ctx, "n1", types.MergePatchType, []byte(`{"metadata":{"labels":{"topology.kubernetes.io/zone":"z","team":"b"}}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

func TestKubeletWritesItsOwnPods(t *testing.T) {
	h, ctx := start(t, withNodes), context.Background()
	made, err := h.client.CoreV1().Pods("default").Create(ctx, pod("p", "n1"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n1, n2 := h.kubelet("n1"), h.kubelet("n2")
	made.Status.Phase = corev1.PodRunning
	_, err = n2.CoreV1().Pods("default").UpdateStatus(ctx, made, metav1.UpdateOptions{})
	forbids(t, err, `node "n2" can only update pod status for pods with spec.nodeName set to itself`)
	if made, err = n1.CoreV1().Pods("default").UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	made.Labels = map[string]string{"app": "disguised"}
	_, err = n1.CoreV1().Pods("default").UpdateStatus(ctx, made, metav1.UpdateOptions{})
	forbids(t, err, `node "n1" cannot update labels through pod status`)
	_, err = n1.CoreV1().Pods("default").Create(ctx, pod("q", "n1"), metav1.CreateOptions{})
	forbids(t, err, "node \"n1\" can only create mirror pods")
	forbids(t, n2.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{}), `node "n2" can only delete pods with spec.nodeName set to itself`)
	if err := n1.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func TestKubeletMakesMirrorPods(t *testing.T) {
	h, ctx := start(t, withNodes), context.Background()
	n1 := h.kubelet("n1")
	node, err := n1.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	mirror := func(change func(*corev1.Pod)) error {
		p := pod("m", "n1")
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: node.UID, Controller: &yes}}
		p.Spec.ServiceAccountName = ""
		if change != nil {
			change(p)
		}
		made, err := n1.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
		if err == nil && (made.Spec.ServiceAccountName != "" || len(made.Spec.Volumes) > 0) {
			t.Errorf("a mirror pod has account %q and volumes %v", made.Spec.ServiceAccountName, made.Spec.Volumes)
		}
		return err
	}
	forbids(t, mirror(func(p *corev1.Pod) { p.OwnerReferences = nil }), `node "n1" can only create pods with an owner reference set to itself`)
	forbids(t, mirror(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }), "node n1 UID mismatch")
	forbids(t, mirror(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), `node "n1" can only create pods with spec.nodeName set to itself`)
	forbids(t, mirror(func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}}}
	}), `node "n1" can not create pods that reference configmaps`)
	if err := mirror(nil); err != nil {
		t.Error(err)
	}
}

func TestKubeletAsksForItsOwnCertificate(t *testing.T) {
	h, ctx := start(t, withNodes), context.Background()
	n1 := h.kubelet("n1")
	ask := func(of string) error {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + of, Organization: []string{"system:nodes"}}}, key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = n1.CertificatesV1().CertificateSigningRequests().Create(ctx, &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
			Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
				Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature}}}, metav1.CreateOptions{})
		return err
	}
	forbids(t, ask("n2"), "can only create a node CSR with CN=system:node:n1")
	if err := ask("n1"); err != nil {
		t.Error(err)
	}
}

func TestKubeletGetsTokensThatItsPodsAskFor(t *testing.T) {
	h, ctx := start(t, withTokens(t), withNodes), context.Background()
	h.have("", "serviceaccounts", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot", UID: "robot"}})
	h.have("storage.k8s.io", "csidrivers", &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"},
		Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "driver"}}}})
	made, err := h.createPod("p", func(s *corev1.PodSpec) {
		s.NodeName, s.ServiceAccountName = "n1", "robot"
		s.Volumes = []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", Path: "t"}}}}}},
			{Name: "c", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "csi.example.com"}}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(node string, to *authenticationv1.BoundObjectReference, audiences ...string) error {
		_, err := h.kubelet(node).CoreV1().ServiceAccounts("default").CreateToken(ctx, "robot",
			&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, BoundObjectRef: to}}, metav1.CreateOptions{})
		return err
	}
	to := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: made.UID}
	for _, audience := range []string{"vault", "driver"} {
		if err := ask("n1", to, audience); err != nil {
			t.Errorf("%s: %v", audience, err)
		}
	}
	if err := ask("n1", to); err != nil { // the pod's own credentials
		t.Error(err)
	}
	forbids(t, ask("n1", to, "bank"), `audience "bank" not found in pod spec volume`)
	forbids(t, ask("n1", to, "vault", "driver"), "node may only request 0 or 1 audiences")
	forbids(t, ask("n1", nil, "vault"), "node requested token not bound to a pod")
	forbids(t, ask("n1", &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "other"}, "vault"), "does not match the UID in record")
	forbids(t, ask("n2", to, "vault"), "no relationship found between node 'n2' and this object")
}
