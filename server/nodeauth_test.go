package server

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
)

// nodeWorld has one pod on n1 that names things of its namespace.
func nodeWorld() *Server {
	s := &Server{state: fsm.New()}
	local := func(n string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: n} }
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n1",
		ServiceAccountName: "acc", ImagePullSecrets: []corev1.LocalObjectReference{local("pull")},
		Volumes: []corev1.Volume{
			{Name: "a", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("vol")}}},
			{Name: "b", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: local("projected")}}}}}}},
		InitContainers: []corev1.Container{{Name: "i", EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("initenv")}}}}},
		Containers: []corev1.Container{{Name: "c", Env: []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("envsecret")}}}}}}}}
	s.state.ApplyOps(1, []ops.Op{&ops.Put{Resource: fsm.Pods, Object: pod, Expect: ops.Absent}})
	return s
}

// Invariant 16: a node reads only what its pods name.
func TestNodeMayRead(t *testing.T) {
	s := nodeWorld()
	for _, c := range []struct {
		node, resource, namespace, name string
		want                            bool
	}{
		{"n1", "configmaps", "ns", "vol", true},
		{"n1", "configmaps", "ns", "initenv", true},
		{"n1", "secrets", "ns", "projected", true},
		{"n1", "secrets", "ns", "envsecret", true},
		{"n1", "secrets", "ns", "pull", true},
		{"n1", "serviceaccounts", "ns", "acc", true},
		{"n1", "pods", "ns", "p", true},
		{"n1", "services", "other", "any", true},
		{"n1", "clustertrustbundles.certificates.k8s.io", "", "any", true},
		{"n1", "runtimeclasses.node.k8s.io", "", "any", true},
		{"n1", "secrets", "ns", "vol", false},
		{"n1", "secrets", "other", "envsecret", false},
		{"n1", "deployments.apps", "ns", "p", false},
		{"n2", "configmaps", "ns", "vol", false},
		{"n2", "pods", "ns", "p", false},
	} {
		if got := s.nodeMayRead(c.node, schema.ParseGroupResource(c.resource), c.namespace, c.name); got != c.want {
			t.Errorf("%s reading %s %s/%s: %v, want %v", c.node, c.resource, c.namespace, c.name, got, c.want)
		}
	}
}

// Invariant 16: a node writes only its own pods' statuses and deletions, and events.
func TestNodeMayWrite(t *testing.T) {
	s := nodeWorld()
	status := &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "ns", Name: "p"}}}
	remove := &ops.DeletePods{Rows: []ops.DeleteRow{{Namespace: "ns", Name: "p"}}}
	event := &ops.Put{Resource: schema.GroupResource{Resource: "events"}, Object: &corev1.Event{}}
	disguised := &ops.Put{Resource: schema.GroupResource{Resource: "secrets"}, Object: &corev1.Event{}}
	for _, c := range []struct {
		node string
		op   ops.Op
		want bool
	}{
		{"n1", status, true}, {"n1", remove, true}, {"n1", event, true},
		{"n2", status, false}, {"n2", remove, false},
		{"n2", &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "ns", Name: "p", UID: "its predecessor's"}}}, true},
		{"n2", &ops.DeletePods{Rows: []ops.DeleteRow{{Namespace: "ns", Name: "p", UID: "its predecessor's"}}}, true},
		{"n2", &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "ns", Name: "p", UID: "u"}}}, false},
		{"n1", disguised, false},
		{"n1", &ops.Put{Resource: nodesResource, Object: &corev1.Node{}}, false},
		{"n1", &ops.PutMeta{Key: "ca"}, false},
		{"n1", &ops.PlanPods{}, false},
		{"n1", &ops.Delete{Resource: nodesResource, Name: "n2"}, false},
	} {
		if err := s.nodeMayWrite(c.node, c.op); (err == nil) != c.want {
			t.Errorf("%s writing %T: %v, want allowed=%v", c.node, c.op, err, c.want)
		}
	}
}

// A node that registers again keeps what others wrote on its object.
func TestMergeNode(t *testing.T) {
	old := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"user": "kept"}},
		Spec: corev1.NodeSpec{PodCIDR: "10.42.1.0/24", Unschedulable: true, Taints: []corev1.Taint{{Key: "k"}}},
		Status: corev1.NodeStatus{Capacity: corev1.ResourceList{"example.com/dongle": resource.MustParse("4"), "hugepages-2Mi": resource.MustParse("2Mi")},
			Conditions: []corev1.NodeCondition{{Type: "Custom", Status: corev1.ConditionTrue},
				{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady"}}}}
	want := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"own": "new"}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}}}
	got, changed := mergeNode(old, want)
	if !changed || got.Spec.PodCIDR != "10.42.1.0/24" || !got.Spec.Unschedulable || len(got.Spec.Taints) != 1 {
		t.Errorf("the spec changed: %+v", got.Spec)
	}
	if got.Labels["user"] != "kept" || got.Labels["own"] != "new" {
		t.Errorf("labels %v", got.Labels)
	}
	if len(got.Status.Conditions) != 2 || got.Status.Conditions[1].Status != corev1.ConditionTrue {
		t.Errorf("conditions %v", got.Status.Conditions)
	}
	if q := got.Status.Capacity; len(q) != 1 || q.Name("example.com/dongle", resource.DecimalSI).Value() != 4 {
		t.Errorf("capacity %v", q)
	}
	if _, again := mergeNode(got, want); again {
		t.Error("registering the same once more counts as a change")
	}
	restarted := want.DeepCopy()
	restarted.Status.Conditions[0].Status = corev1.ConditionFalse
	if after, _ := mergeNode(got, restarted); after.Status.Conditions[1].Status != corev1.ConditionTrue {
		t.Error("a restart of the agent made the node not ready")
	}
}

// Invariant 16: a node gets the tokens that its pods' specs ask for, for whom and for as long as they say.
func TestNodeGetsWhatTheSpecAsksFor(t *testing.T) {
	hour := int64(3600)
	spec := &corev1.PodSpec{Volumes: []corev1.Volume{{}, {VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{}, {ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", ExpirationSeconds: &hour}}}}}}}}
	for _, c := range []struct {
		audience string
		seconds  int64
		want     bool
	}{{"vault", 3600, true}, {"vault", 1 << 31, false}, {"", 3600, false}, {"bank", 3600, false}} {
		if got := projectsToken(spec, c.audience, c.seconds); got != c.want {
			t.Errorf("%q for %d s: %v", c.audience, c.seconds, got)
		}
	}
}
