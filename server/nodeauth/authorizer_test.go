package nodeauth

import (
	"context"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/peapod-sh/peapod/api"
)

// fakeState is a state, and what it would be after a barrier.
type fakeState struct {
	pods     map[string][]*api.PodRecord
	objects  map[string]runtime.Object
	later    map[string][]*api.PodRecord
	barriers int
}

func (s *fakeState) PodsOfNode(node string) []*api.PodRecord { return s.pods[node] }

func (s *fakeState) Get(gr schema.GroupResource, namespace, name string) (runtime.Object, bool) {
	o, ok := s.objects[gr.String()+" "+namespace+"/"+name]
	return o, ok
}

func (s *fakeState) Barrier(context.Context) error {
	s.barriers++
	if s.later != nil {
		s.pods = s.later
	}
	return nil
}

func record(t *testing.T, p *corev1.Pod) *api.PodRecord {
	t.Helper()
	status, err := p.Status.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r := &api.PodRecord{Name: p.Name, Node: p.Spec.NodeName}
	if r.Template, err = api.NewPodTemplate(p.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if err := r.SetStatus(status); err != nil {
		t.Fatal(err)
	}
	return r
}

func testState(t *testing.T) *fakeState {
	claim, made, node := "chosen", "made", "n1"
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: "acc",
		Volumes: []corev1.Volume{
			{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "mounted"}}},
			{Name: "c", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "own", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "a", ResourceClaimName: &claim}, {Name: "b"}},
	}, Status: corev1.PodStatus{ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "b", ResourceClaimName: &made}}}}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef: &corev1.ObjectReference{Namespace: "ns", Name: "data"},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			NodeStageSecretRef:         &corev1.SecretReference{Namespace: "drivers", Name: "stage"},
			ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "drivers", Name: "publish"}}}}}
	stolen := volume.DeepCopy()
	stolen.Name, stolen.Spec.ClaimRef.Name = "stolen", "another"
	return &fakeState{pods: map[string][]*api.PodRecord{node: {record(t, p)}}, objects: map[string]runtime.Object{
		"persistentvolumeclaims ns/data":                  &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}},
		"persistentvolumeclaims ns/p-own":                 &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "stolen"}},
		"persistentvolumes /pv":                           volume,
		"persistentvolumes /stolen":                       stolen,
		"volumeattachments.storage.k8s.io /va":            &storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{NodeName: node}},
		"resourceslices.resource.k8s.io /sl":              &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{NodeName: &node}},
		"podcertificaterequests.certificates.k8s.io ns/q": &certificatesv1.PodCertificateRequest{Spec: certificatesv1.PodCertificateRequestSpec{NodeName: "n1"}},
	}}
}

func asking(node, request string) authorizer.AttributesRecord {
	w := strings.Fields(request + " - - -")
	field := func(i int) string { return strings.Trim(w[i], "-") }
	gr := schema.ParseGroupResource(w[1])
	a := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "system:node:" + node, Groups: []string{user.NodesGroup}}, ResourceRequest: true,
		Verb: w[0], APIGroup: gr.Group, Namespace: field(2), Name: field(3), Subresource: field(4)}
	a.Resource = gr.Resource
	return a
}

// Invariant 16. Requests are: verb resource namespace name subresource.
func TestNodesGetWhatTheirPodsNeed(t *testing.T) {
	for request, allowed := range map[string]bool{
		"get secrets ns mounted":                                       true,
		"watch secrets ns mounted":                                     true,
		"get secrets ns other":                                         false,
		"get secrets other mounted":                                    false,
		"list secrets ns -":                                            false,
		"list secrets - -":                                             false,
		"update secrets ns mounted":                                    false,
		"delete secrets ns mounted":                                    false,
		"get secrets drivers stage":                                    true,
		"get secrets drivers publish":                                  false,
		"get configmaps ns kube-root-ca.crt":                           true,
		"get configmaps other kube-root-ca.crt":                        false,
		"get persistentvolumeclaims ns data":                           true,
		"get persistentvolumeclaims ns p-own":                          true,
		"get persistentvolumeclaims ns x":                              false,
		"list persistentvolumeclaims ns data":                          false,
		"patch persistentvolumeclaims ns data status":                  true,
		"patch persistentvolumeclaims ns data":                         false,
		"get persistentvolumes - pv":                                   true,
		"get persistentvolumes - stolen":                               false,
		"get resourceclaims.resource.k8s.io ns chosen":                 true,
		"get resourceclaims.resource.k8s.io ns made":                   true,
		"get resourceclaims.resource.k8s.io ns other":                  false,
		"get volumeattachments.storage.k8s.io - va":                    true,
		"get volumeattachments.storage.k8s.io - vb":                    false,
		"create serviceaccounts ns acc token":                          true,
		"create serviceaccounts ns other token":                        false,
		"create serviceaccounts ns acc":                                false,
		"get serviceaccounts ns acc":                                   true,
		"get serviceaccounts ns other":                                 false,
		"update leases.coordination.k8s.io kube-node-lease n1":         true,
		"update leases.coordination.k8s.io kube-node-lease n2":         false,
		"create leases.coordination.k8s.io kube-node-lease -":          true,
		"list leases.coordination.k8s.io kube-node-lease -":            false,
		"update leases.coordination.k8s.io kube-system n1":             false,
		"get csinodes.storage.k8s.io - n1":                             true,
		"get csinodes.storage.k8s.io - n2":                             false,
		"get resourceslices.resource.k8s.io - sl":                      true,
		"delete resourceslices.resource.k8s.io - other":                false,
		"list resourceslices.resource.k8s.io - -":                      false,
		"create podcertificaterequests.certificates.k8s.io ns -":       true,
		"get podcertificaterequests.certificates.k8s.io ns q":          true,
		"get podcertificaterequests.certificates.k8s.io ns r":          false,
		"update podcertificaterequests.certificates.k8s.io ns q":       false,
		"get nodes - n1":                                               true,
		"get nodes - n2":                                               false,
		"list nodes - -":                                               false,
		"patch nodes - n2 status":                                      true, // admission refuses it
		"delete nodes - n1":                                            false,
		"get pods ns p":                                                true,
		"get pods ns q":                                                false,
		"list pods - -":                                                false,
		"create pods ns - eviction":                                    true,
		"create pods ns p exec":                                        false,
		"patch pods ns p status":                                       true,
		"update pods ns p":                                             false,
		"list services - -":                                            true,
		"list runtimeclasses.node.k8s.io - -":                          true,
		"list deployments.apps - -":                                    false,
		"create events ns -":                                           true,
		"create certificatesigningrequests.certificates.k8s.io - -":    true,
		"approve signers.certificates.k8s.io - kubernetes.io/anything": false,
	} {
		d, why, err := New(testState(t)).Authorize(context.Background(), asking("n1", request))
		if err != nil || (d == authorizer.DecisionAllow) != allowed {
			t.Errorf("%s: %v %q %v, want allowed=%v", request, d, why, err, allowed)
		}
		if !strings.HasPrefix(request, "get secrets ns mounted") {
			continue
		}
		for _, who := range []user.Info{
			&user.DefaultInfo{Name: "system:node:n2", Groups: []string{user.NodesGroup}},
			&user.DefaultInfo{Name: "system:node:n1"},
			&user.DefaultInfo{Name: "n1", Groups: []string{user.NodesGroup}},
		} {
			a := asking("n1", request)
			a.User = who
			if d, _, _ := New(testState(t)).Authorize(context.Background(), a); d == authorizer.DecisionAllow {
				t.Errorf("%v gets what is for n1", who)
			}
		}
	}
}

func TestSelectorsOfNodes(t *testing.T) {
	for request, field := range map[string]string{
		"list pods - -": "spec.nodeName", "watch pods ns -": "spec.nodeName", "list resourceslices.resource.k8s.io - -": "spec.nodeName",
		"watch podcertificaterequests.certificates.k8s.io - -": "spec.nodeName",
	} {
		for selector, allowed := range map[string]bool{field + "=n1": true, field + "==n1": true, field + "!=n1": false, field + "=n2": false, "metadata.name=n1": false} {
			a := asking("n1", request)
			a.FieldSelectorRequirements = fields.ParseSelectorOrDie(selector).Requirements()
			if d, why, _ := New(testState(t)).Authorize(context.Background(), a); (d == authorizer.DecisionAllow) != allowed {
				t.Errorf("%s with %s: %v %q", request, selector, d, why)
			}
		}
	}
}

// A server may hear of a pod after the node has heard of it from another.
func TestRefusalWaitsForTheState(t *testing.T) {
	s := testState(t)
	s.pods, s.later = nil, s.pods
	if d, why, _ := New(s).Authorize(context.Background(), asking("n1", "get secrets ns mounted")); d != authorizer.DecisionAllow || s.barriers != 1 {
		t.Fatalf("%v %q after %d barriers", d, why, s.barriers)
	}
	d, why, _ := New(s).Authorize(context.Background(), asking("n1", "get secrets ns other"))
	if d == authorizer.DecisionAllow || why != "no relationship found between node 'n1' and this object" {
		t.Fatalf("%v %q", d, why)
	}
}
