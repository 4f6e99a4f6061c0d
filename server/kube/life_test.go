package kube_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func reason(err error) metav1.StatusReason { return apierrors.ReasonForError(err) }

func TestNamespaceLife(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	nss := h.client.CoreV1().Namespaces()
	ns, err := nss.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceActive || len(ns.Spec.Finalizers) != 1 {
		t.Fatalf("%+v, %v", ns, err)
	}
	elsewhere := configMap("c")
	elsewhere.Namespace = "missing"
	if _, err := h.client.CoreV1().ConfigMaps("missing").Create(ctx, elsewhere, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("creating in a missing namespace: %v", err)
	}
	if err := nss.Delete(ctx, "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("deleting default: %v", err)
	}
	if err := nss.Delete(ctx, "n", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns, err = nss.Get(ctx, "n", metav1.GetOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Fatalf("%+v, %v", ns, err)
	}
	elsewhere.Namespace = "n"
	_, err = h.client.CoreV1().ConfigMaps("n").Create(ctx, elsewhere, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Fatalf("creating in a terminating namespace: %v", err)
	}
	ns.Spec.Finalizers = nil
	if _, err := nss.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := nss.Get(ctx, "n", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("after the last finalizer: %v", err)
	}
}

func TestPodDeletionIsGraceful(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	pods := h.client.CoreV1().Pods("default")
	for _, p := range []*corev1.Pod{pod("placed", "node1"), pod("waiting", "")} {
		if made, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil || made.Spec.ServiceAccountName != "default" || made.Status.Phase != corev1.PodPending {
			t.Fatalf("%+v, %v", made, err)
		}
	}
	if err := pods.Delete(ctx, "waiting", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "waiting", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("a pod without a node stayed: %v", err)
	}
	if err := pods.Delete(ctx, "placed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := pods.Get(ctx, "placed", metav1.GetOptions{})
	if err != nil || p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("%+v, %v", p.ObjectMeta, err)
	}
	zero := int64(0)
	wrong := metav1.NewUIDPreconditions("another")
	if err := pods.Delete(ctx, "placed", metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: wrong}); !apierrors.IsConflict(err) {
		t.Fatalf("with another UID: %v", err)
	}
	if err := pods.Delete(ctx, "placed", metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &p.UID}}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "placed", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("after grace 0: %v", err)
	}
}

func TestWire6BindingAndEviction(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	pods := h.client.CoreV1().Pods("default")
	made, err := pods.Create(ctx, pod("p", ""), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: made.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: "node1"}}
	if err := pods.Bind(ctx, b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := pods.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || got.Spec.NodeName != "node1" || !slices.ContainsFunc(got.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue
	}) {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := pods.Bind(ctx, b, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Fatalf("binding twice: %v", err)
	}
	if err := pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}}); err != nil {
		t.Fatal(err)
	}
	if got, err = pods.Get(ctx, "p", metav1.GetOptions{}); err != nil || got.DeletionTimestamp == nil {
		t.Fatalf("after the eviction: %+v, %v", got, err)
	}
	resources, err := h.client.Discovery().ServerResourcesForGroupVersion("v1")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool {
		return r.Name == "pods/eviction" && r.Kind == "Eviction" && r.Group == "policy" && r.Version == "v1"
	}) {
		t.Error("discovery does not list pods/eviction as kubectl drain wants it")
	}
}

func service(name string, kind corev1.ServiceType, port int32) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: port}}}}
}

func TestServiceAddressesAndPorts(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	svcs := h.client.CoreV1().Services("default")
	create := func(s *corev1.Service) (*corev1.Service, error) { return svcs.Create(ctx, s, metav1.CreateOptions{}) }
	k, err := create(service("kubernetes", corev1.ServiceTypeClusterIP, 443))
	if err != nil || k.Spec.ClusterIP != "10.96.0.1" || len(k.Spec.ClusterIPs) != 1 || len(k.Spec.IPFamilies) != 1 || k.Spec.IPFamilyPolicy == nil {
		t.Fatalf("%+v, %v", k, err)
	}
	np, err := create(service("np", corev1.ServiceTypeNodePort, 80))
	if err != nil || np.Spec.Ports[0].NodePort < 30000 || np.Spec.Ports[0].NodePort > 32767 || !strings.HasPrefix(np.Spec.ClusterIP, "10.96.") {
		t.Fatalf("%+v, %v", np, err)
	}
	bad := service("bad", corev1.ServiceTypeNodePort, 80)
	bad.Spec.ClusterIP = np.Spec.ClusterIP
	bad.Spec.Ports[0].NodePort = np.Spec.Ports[0].NodePort
	if _, err := create(bad); !apierrors.IsInvalid(err) || strings.Count(err.Error(), "already allocated") != 2 {
		t.Fatalf("taken values: %v", err)
	}
	bad.Spec.ClusterIP, bad.Spec.Ports[0].NodePort = "10.1.2.3", 99
	if _, err := create(bad); !apierrors.IsInvalid(err) || strings.Count(err.Error(), "not in the valid range") != 2 {
		t.Fatalf("values out of range: %v", err)
	}
	headless := service("headless", corev1.ServiceTypeClusterIP, 80)
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	if s, err := create(headless); err != nil || s.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Fatalf("%+v, %v", s, err)
	}
	// A PUT that leaves out what was allocated keeps it; a change to ClusterIP gives the port back.
	np.Spec.ClusterIP, np.Spec.ClusterIPs = "", nil
	was := np.Spec.Ports[0].NodePort
	np.Spec.Ports[0].NodePort = 0
	kept, err := svcs.Update(ctx, np, metav1.UpdateOptions{})
	if err != nil || kept.Spec.ClusterIP == "" || kept.Spec.Ports[0].NodePort != was {
		t.Fatalf("%+v, %v", kept, err)
	}
	kept.Spec.Type = corev1.ServiceTypeClusterIP
	if s, err := svcs.Update(ctx, kept, metav1.UpdateOptions{}); err != nil || s.Spec.Ports[0].NodePort != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	before := h.store.Revision()
	if s, err := svcs.Create(ctx, service("dry", corev1.ServiceTypeNodePort, 80), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil || s.Spec.ClusterIP == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	if h.store.Revision() != before {
		t.Fatal("a dry run wrote")
	}
	if s, err := create(service("lb", corev1.ServiceTypeLoadBalancer, 80)); err != nil || s.Spec.Ports[0].NodePort == 0 || len(s.Status.LoadBalancer.Ingress) != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestFinalizersAndPropagation(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	cms := h.client.CoreV1().ConfigMaps("default")
	if _, err := cms.Create(ctx, configMap("owner"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	foreground := metav1.DeletePropagationForeground
	if err := cms.Delete(ctx, "owner", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	got, err := cms.Get(ctx, "owner", metav1.GetOptions{})
	if err != nil || got.DeletionTimestamp == nil || !slices.Contains(got.Finalizers, metav1.FinalizerDeleteDependents) {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Finalizers = nil
	if _, err := cms.Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := cms.Get(ctx, "owner", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("after the last finalizer: %v", err)
	}
	for _, n := range []string{"a", "b", "c"} {
		c := configMap(n)
		c.Labels = map[string]string{"keep": map[bool]string{true: "yes", false: "no"}[n == "c"]}
		if _, err := cms.Create(ctx, c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := cms.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "keep=no"}); err != nil {
		t.Fatal(err)
	}
	if l, err := cms.List(ctx, metav1.ListOptions{}); err != nil || len(l.Items) != 1 || l.Items[0].Name != "c" {
		t.Fatalf("%+v, %v", l, err)
	}
}

// TestInvalidObjectsTellAllFaults: Invariant 62.
func TestInvalidObjectsTellAllFaults(t *testing.T) {
	h := start(t)
	c := configMap("Upper_Case")
	c.Data = map[string]string{"bad/key": "v"}
	_, err := h.client.CoreV1().ConfigMaps("default").Create(context.Background(), c, metav1.CreateOptions{})
	var s apierrors.APIStatus
	if !errors.As(err, &s) || reason(err) != metav1.StatusReasonInvalid || len(s.Status().Details.Causes) < 2 {
		t.Fatalf("%v", err)
	}
}

func TestFinalizersHaveADomain(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	maps := h.client.CoreV1().ConfigMaps("default")
	c := configMap("c")
	c.Finalizers = []string{"mine"}
	const says = `metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`
	if _, err := maps.Create(ctx, c, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), says) {
		t.Errorf("%v", err)
	}
	c.Finalizers = []string{"example.com/mine", "orphan"}
	made, err := maps.Create(ctx, c, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Finalizers = []string{"mine"}
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), says) {
		t.Errorf("%v", err)
	}
}

// Kinds that several programs write must say which state a PUT is based on.
func TestUpdateThatMustBeConditional(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	leases, maps := h.client.CoordinationV1().Leases("default"), h.client.CoreV1().ConfigMaps("default")
	lease, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		t.Errorf("with a resourceVersion: %v", err)
	}
	lease.ResourceVersion = ""
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "metadata.resourceVersion: Invalid value: 0: must be specified for an update") {
		t.Errorf("without: %v", err)
	}
	if _, err := maps.Create(ctx, configMap("c"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Update(ctx, configMap("c"), metav1.UpdateOptions{}); err != nil {
		t.Errorf("a ConfigMap without: %v", err)
	}
}
