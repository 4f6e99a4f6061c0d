package kube_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
)

// have puts objects into the store, as they would be after defaulting.
func (h *harness) have(group, resource string, objects ...runtime.Object) {
	h.Helper()
	gr := schema.GroupResource{Group: group, Resource: resource}
	for _, o := range objects {
		if k := api.KindFor(gr); k.Default != nil {
			k.Default(o)
		}
		if _, err := h.store.Propose(context.Background(), &ops.Put{Resource: gr, Object: o, Expect: ops.Any}); err != nil {
			h.Fatal(err)
		}
	}
}

// forbids checks that a write is forbidden in these words.
func forbids(t *testing.T, err error, words ...string) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("not forbidden: %v", err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func limitRange(name string, items ...corev1.LimitRangeItem) *corev1.LimitRange {
	return &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.LimitRangeSpec{Limits: items}}
}

func (h *harness) createPod(name string, change func(*corev1.PodSpec)) (*corev1.Pod, error) {
	p := pod(name, "")
	if change != nil {
		change(&p.Spec)
	}
	return h.client.CoreV1().Pods("default").Create(context.Background(), p, metav1.CreateOptions{})
}

func TestPodsAreGivenTheirNamespacesLimits(t *testing.T) {
	h := start(t)
	h.have("", "limitranges", limitRange("l", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer,
		Default: list("cpu", "500m", "memory", "64Mi"), DefaultRequest: list("cpu", "100m")}))
	p, err := h.createPod("p", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := p.Spec.Containers[0].Resources
	if r.Limits.Cpu().String() != "500m" || r.Requests.Cpu().String() != "100m" || r.Requests.Memory().String() != "64Mi" {
		t.Errorf("the container has %+v", r)
	}
	name := p.Spec.Containers[0].Name
	want := "LimitRanger plugin set: cpu, memory request for container " + name + "; cpu, memory limit for container " + name
	if p.Annotations["kubernetes.io/limit-ranger"] != want {
		t.Errorf("the annotation is %q, not %q", p.Annotations["kubernetes.io/limit-ranger"], want)
	}
	// What a container limits it also requests, so the default request is not for it.
	p, err = h.createPod("own", func(s *corev1.PodSpec) { s.Containers[0].Resources.Limits = list("cpu", "2") })
	if err != nil || p.Spec.Containers[0].Resources.Requests.Cpu().String() != "2" {
		t.Errorf("own limits: %+v, %v", p.Spec.Containers[0].Resources, err)
	}
}

func TestPodsKeepTheirNamespacesLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limit     corev1.LimitRangeItem
		resources corev1.ResourceRequirements
		want      string // "" is admitted
	}{
		"min, no request": {corev1.LimitRangeItem{Type: corev1.LimitTypePod, Min: list("cpu", "1")}, corev1.ResourceRequirements{},
			"minimum cpu usage per Pod is 1.  No request is specified"},
		"min, request": {corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: list("cpu", "1")},
			corev1.ResourceRequirements{Requests: list("cpu", "900m")},
			"minimum cpu usage per Container is 1, but request is 900m"},
		"max, no limit": {corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: list("memory", "1Gi")}, corev1.ResourceRequirements{},
			"maximum memory usage per Pod is 1Gi.  No limit is specified"},
		"max, limit": {corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: list("memory", "1Gi")},
			corev1.ResourceRequirements{Limits: list("memory", "2Gi")},
			"maximum memory usage per Container is 1Gi, but limit is 2Gi"},
		"max, kept": {corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: list("memory", "1Gi")},
			corev1.ResourceRequirements{Limits: list("memory", "1Gi")}, ""},
		"ratio": {corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, MaxLimitRequestRatio: list("cpu", "1500m")},
			corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "2")},
			"cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000"},
		"ratio, no request": {corev1.LimitRangeItem{Type: corev1.LimitTypePod, MaxLimitRequestRatio: list("cpu", "2")}, corev1.ResourceRequirements{},
			"cpu max limit to request ratio per Pod is 2, but no request is specified or request is 0"},
		"ratio, kept": {corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, MaxLimitRequestRatio: list("cpu", "2")},
			corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "2")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod("", "")
			p.GenerateName, p.Spec.Containers[0].Resources = "p-", c.resources
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
			err := kube.PreparePod(p, account, someFacts{"limitranges": {limitRange("l", c.limit)}})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			forbids(t, err, `pods "p-" is forbidden: `+c.want)
		})
	}
}

func TestAllBrokenLimitsAreReported(t *testing.T) {
	h := start(t)
	h.have("", "limitranges", limitRange("l", corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: list("cpu", "1", "memory", "1Mi")}))
	_, err := h.createPod("p", func(s *corev1.PodSpec) { s.Containers[0].Resources.Limits = list("cpu", "2", "memory", "2Mi") })
	forbids(t, err, "[maximum cpu usage per Pod is 1, but limit is 2, maximum memory usage per Pod is 1Mi, but limit is 2Mi]")
}

func claim(name, size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: list("storage", size)}}}
}

func TestClaimsKeepLimitsAndGetTheDefaultClass(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	h.have("", "limitranges", limitRange("l",
		corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Min: list("storage", "1Gi"), Max: list("storage", "5Gi")}))
	classes := []string{"old", "new", "other"}
	for i, name := range classes {
		c := &storagev1.StorageClass{Provisioner: "example.com/p",
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", CreationTimestamp: metav1.Unix(int64(1000+i), 0)}}
		if name != "other" {
			c.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
		}
		h.have("storage.k8s.io", "storageclasses", c)
	}
	claims := h.client.CoreV1().PersistentVolumeClaims("default")
	_, err := claims.Create(ctx, claim("small", "1Mi"), metav1.CreateOptions{})
	forbids(t, err, "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")
	_, err = claims.Create(ctx, claim("big", "6Gi"), metav1.CreateOptions{})
	forbids(t, err, "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi")
	made, err := claims.Create(ctx, claim("right", "2Gi"), metav1.CreateOptions{})
	if err != nil || made.Spec.StorageClassName == nil || *made.Spec.StorageClassName != "new" {
		t.Fatalf("%+v, %v", made.Spec, err)
	}
	none := claim("none", "2Gi")
	none.Spec.StorageClassName = new(string)
	if made, err = claims.Create(ctx, none, metav1.CreateOptions{}); err != nil || *made.Spec.StorageClassName != "" {
		t.Fatalf("%+v, %v", made.Spec, err)
	}
}

func TestClaimsGrowOnlyIfTheirVolumesCan(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	yes := true
	h.have("storage.k8s.io", "storageclasses",
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "grows"}, Provisioner: "example.com/p", AllowVolumeExpansion: &yes},
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "stays"}, Provisioner: "example.com/p"})
	for name, c := range map[string]struct {
		class string
		want  string
	}{
		"stays":  {"stays", "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"},
		"absent": {"absent", "only dynamically provisioned pvc can be resized"},
		"grows":  {"grows", ""},
	} {
		pvc := claim(name, "1Gi")
		pvc.UID, pvc.Spec.StorageClassName, pvc.Status.Phase = "u", &c.class, corev1.ClaimBound
		pvc.Spec.VolumeName = "v"
		h.have("", "persistentvolumeclaims", pvc)
		now, err := h.client.CoreV1().PersistentVolumeClaims("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		now.Spec.Resources.Requests = list("storage", "2Gi")
		_, err = h.client.CoreV1().PersistentVolumeClaims("default").Update(ctx, now, metav1.UpdateOptions{})
		if c.want != "" {
			forbids(t, err, c.want)
		} else if err != nil {
			t.Error(err)
		}
	}
}

func TestPodsTolerateDeadNodesAndNewNodesAreTainted(t *testing.T) {
	h := start(t)
	own := corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	p, err := h.createPod("p", func(s *corev1.PodSpec) { s.Tolerations = []corev1.Toleration{own} })
	if err != nil {
		t.Fatal(err)
	}
	ts := p.Spec.Tolerations
	if len(ts) != 2 || ts[0].TolerationSeconds != nil || ts[1].Key != corev1.TaintNodeNotReady || *ts[1].TolerationSeconds != 300 {
		t.Errorf("tolerations %+v", ts)
	}
	// A pod of before the rule gets them with its next update.
	old := p.DeepCopy()
	old.Name, old.UID, old.ResourceVersion, old.Spec.Tolerations = "old", "old", "", nil
	h.have("", "pods", old)
	changed, err := h.client.CoreV1().Pods("default").Patch(context.Background(), "old", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	if err != nil || len(changed.Spec.Tolerations) != 2 || changed.Labels["a"] != "b" {
		t.Errorf("tolerations after an update %+v, %v", changed.Spec.Tolerations, err)
	}
	n, err := h.client.CoreV1().Nodes().Create(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	want := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if err != nil || len(n.Spec.Taints) != 1 || n.Spec.Taints[0] != want {
		t.Errorf("taints %+v, %v", n.Spec.Taints, err)
	}
}

func TestAdministratorsDevicesNeedALabelledNamespace(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	yes := true
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "default"}, Spec: resourcev1.ResourceClaimSpec{
		Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "d", AdminAccess: &yes}}}}}}
	_, err := h.client.ResourceV1().ResourceClaims("default").Create(ctx, c, metav1.CreateOptions{})
	const refused = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), refused) {
		t.Fatalf("%v", err)
	}
	ns, err := h.client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ns.Labels = map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}
	if _, err := h.client.CoreV1().Namespaces().Update(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.ResourceV1().ResourceClaims("default").Create(ctx, c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// someFacts are facts of a test.
type someFacts map[string][]runtime.Object

func (f someFacts) Objects(gr schema.GroupResource, _ string) []runtime.Object { return f[gr.Resource] }

func (f someFacts) Object(gr schema.GroupResource, _, name string) runtime.Object {
	for _, o := range f[gr.Resource] {
		if m := o.(metav1.Object); m.GetName() == name {
			return o
		}
	}
	return nil
}

// TestControllersPodsAreAdmittedLikeOthers compares a pod that came through the API with the same prepared for a controller.
func TestControllersPodsAreAdmittedLikeOthers(t *testing.T) {
	h := start(t)
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000}
	limits := limitRange("l", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: list("cpu", "500m"), Max: list("cpu", "1")})
	h.have("scheduling.k8s.io", "priorityclasses", class)
	h.have("", "limitranges", limits)
	facts := someFacts{"priorityclasses": {class}, "limitranges": {limits}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	want, err := h.createPod("p", func(s *corev1.PodSpec) { s.PriorityClassName = "high" })
	if err != nil {
		t.Fatal(err)
	}
	p := pod("p", "")
	p.Spec.PriorityClassName = "high"
	if err := kube.PreparePod(p, account, facts); err != nil {
		t.Fatal(err)
	}
	if p.Spec.String() != want.Spec.String() || p.Annotations["kubernetes.io/limit-ranger"] != want.Annotations["kubernetes.io/limit-ranger"] {
		t.Errorf("a controller's pod is\n%v\nnot\n%v", p.Spec.String(), want.Spec.String())
	}
	refused := pod("", "")
	refused.GenerateName = "web-1234-"
	refused.Spec.Containers[0].Resources.Limits = list("cpu", "2")
	forbids(t, kube.PreparePod(refused, account, facts), `pods "web-1234-" is forbidden: maximum cpu usage per Container is 1, but limit is 2`)
	invalid := pod("", "")
	facts["limitranges"] = []runtime.Object{limitRange("l", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, DefaultRequest: list("cpu", "3")})}
	invalid.Spec.Containers[0].Resources.Limits = list("cpu", "2")
	invalid.Spec.Containers[0].Resources.Requests = list("memory", "1Gi")
	invalid.Spec.Containers[0].Resources.Limits = list("cpu", "2", "memory", "1Mi")
	if err := kube.PreparePod(invalid, account, facts); !apierrors.IsInvalid(err) {
		t.Errorf("an invalid pod: %v", err)
	}
}

func TestReservedAddressesAreNotGivenAway(t *testing.T) {
	h := start(t)
	h.have("networking.k8s.io", "ipaddresses", &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.77"},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}}})
	s := service("s", corev1.ServiceTypeClusterIP, 80)
	s.Spec.ClusterIP = "10.96.0.77"
	_, err := h.client.CoreV1().Services("default").Create(context.Background(), s, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "failed to allocate IP 10.96.0.77: provided IP is already allocated") {
		t.Fatal(err)
	}
}

// Who had the address of the cluster's DNS could answer for any name.
func TestOnlyDNSHasItsAddress(t *testing.T) {
	h, ctx := start(t), context.Background()
	s := service("mine", corev1.ServiceTypeClusterIP, 53)
	s.Spec.ClusterIP = "10.96.0.10"
	_, err := h.client.CoreV1().Services("default").Create(ctx, s, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "failed to allocate IP 10.96.0.10: the nodes answer there for the cluster's DNS") {
		t.Fatal(err)
	}
	h.have("", "namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
	s.Name, s.Namespace = "kube-dns", "kube-system"
	if _, err := h.client.CoreV1().Services("kube-system").Create(ctx, s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestNewStorageObjectsAreProtected(t *testing.T) {
	h, ctx := start(t), context.Background()
	c, err := h.client.CoreV1().PersistentVolumeClaims("default").Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "c", Finalizers: []string{"example.com/mine"}},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "1Gi")}}}, metav1.CreateOptions{})
	if err != nil || !slices.Equal(c.Finalizers, []string{"example.com/mine", api.ClaimProtectionFinalizer}) {
		t.Errorf("%v, %q", err, c.Finalizers)
	}
	v, err := h.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"},
		Spec: corev1.PersistentVolumeSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: list("storage", "1Gi"),
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/v"}}}}, metav1.CreateOptions{})
	if err != nil || !slices.Equal(v.Finalizers, []string{api.VolumeProtectionFinalizer}) {
		t.Errorf("%v, %q", err, v.Finalizers)
	}
	a, err := h.client.StorageV1().VolumeAttributesClasses().Create(ctx, &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "a"},
		DriverName: "csi.example.com", Parameters: map[string]string{"iops": "100"}}, metav1.CreateOptions{})
	if err != nil || !slices.Equal(a.Finalizers, []string{api.AttributesProtectionFinalizer}) {
		t.Errorf("%v, %q", err, a.Finalizers)
	}
}

func TestPodsAreToldTheirPlace(t *testing.T) {
	h, ctx := start(t), context.Background()
	h.have("", "nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{
		corev1.LabelTopologyZone: "a", corev1.LabelTopologyRegion: "r", "other": "x"}}})
	at, err := h.createPod("at", func(s *corev1.PodSpec) { s.NodeName = "n1" })
	if err != nil || at.Labels[corev1.LabelTopologyZone] != "a" || at.Labels[corev1.LabelTopologyRegion] != "r" || len(at.Labels) != 2 {
		t.Errorf("made for a node: %v, %v", at.Labels, err)
	}
	p := pod("later", "")
	p.Labels = map[string]string{"app": "x", corev1.LabelTopologyZone: "claimed"}
	if p, err = h.client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil || p.Labels[corev1.LabelTopologyZone] != "claimed" {
		t.Fatalf("without a node: %v, %v", p.Labels, err)
	}
	bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "later"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	if err := h.client.CoreV1().Pods("default").Bind(ctx, bind, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err = h.client.CoreV1().Pods("default").Get(ctx, "later", metav1.GetOptions{})
	if err != nil || p.Spec.NodeName != "n1" || p.Labels[corev1.LabelTopologyZone] != "a" || p.Labels["app"] != "x" {
		t.Errorf("bound: %v, %v", p.Labels, err)
	}
}
