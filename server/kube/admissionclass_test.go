package kube_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/kube"
)

func TestPodsHaveThePriorityOfTheirClass(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	classes := h.client.SchedulingV1().PriorityClasses()
	_, err := h.createPod("p", func(s *corev1.PodSpec) { s.PriorityClassName = "high" })
	forbids(t, err, `pods "p" is forbidden: no PriorityClass with name high was found`)
	never := corev1.PreemptNever
	high := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000, PreemptionPolicy: &never}
	if _, err := classes.Create(ctx, high, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := h.createPod("p", func(s *corev1.PodSpec) { s.PriorityClassName = "high" })
	if err != nil || *p.Spec.Priority != 1000 || *p.Spec.PreemptionPolicy != never {
		t.Fatalf("%+v, %v", p.Spec, err)
	}
	// A client that does not know the fields changes nothing by leaving them out.
	p.Spec.Priority, p.Spec.PreemptionPolicy = nil, nil
	if p, err = h.client.CoreV1().Pods("default").Update(ctx, p, metav1.UpdateOptions{}); err != nil || *p.Spec.Priority != 1000 {
		t.Fatalf("%v", err)
	}
	_, err = h.createPod("liar", func(s *corev1.PodSpec) { five := int32(5); s.PriorityClassName, s.Priority = "high", &five })
	forbids(t, err, "the integer value of priority (5) must not be provided in pod spec")
	usual := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 7, GlobalDefault: true}
	if _, err := classes.Create(ctx, usual, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if p, err = h.createPod("q", nil); err != nil || *p.Spec.Priority != 7 || p.Spec.PriorityClassName != "usual" {
		t.Fatalf("%+v, %v", p.Spec, err)
	}
	_, err = classes.Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, GlobalDefault: true}, metav1.CreateOptions{})
	forbids(t, err, "PriorityClass usual is already marked as default. Only one default can exist")
	for _, c := range api.SystemPriorityClasses() {
		h.have("scheduling.k8s.io", "priorityclasses", c)
		forbids(t, classes.Delete(ctx, c.Name, metav1.DeleteOptions{}), "this is a system priority class and cannot be deleted")
	}
	if err := classes.Delete(ctx, "usual", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestPodsAreGivenWhatTheirRuntimeClassCosts(t *testing.T) {
	h := start(t)
	class := func(name string) func(*corev1.PodSpec) {
		return func(s *corev1.PodSpec) { s.RuntimeClassName = &name }
	}
	_, err := h.createPod("p", class("vm"))
	forbids(t, err, `pods "p" is forbidden: pod rejected: RuntimeClass "vm" not found`)
	h.have("node.k8s.io", "runtimeclasses", &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Handler: "vm",
		Overhead: &nodev1.Overhead{PodFixed: list("memory", "64Mi")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "yes"},
			Tolerations: []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists}}}})
	p, err := h.createPod("p", func(s *corev1.PodSpec) {
		class("vm")(s)
		s.NodeSelector = map[string]string{"zone": "a"}
		s.Tolerations = []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	})
	if err != nil || p.Spec.Overhead.Memory().String() != "64Mi" || p.Spec.NodeSelector["vm"] != "yes" || p.Spec.NodeSelector["zone"] != "a" {
		t.Fatalf("%+v, %v", p.Spec, err)
	}
	vms := 0
	for _, tol := range p.Spec.Tolerations {
		if tol.Key == "vm" {
			vms++
		}
	}
	if vms != 1 { // the class' toleration has the pod's own in it
		t.Errorf("tolerations %+v", p.Spec.Tolerations)
	}
	_, err = h.createPod("elsewhere", func(s *corev1.PodSpec) { class("vm")(s); s.NodeSelector = map[string]string{"vm": "no"} })
	forbids(t, err, "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no")
	_, err = h.createPod("cheap", func(s *corev1.PodSpec) { class("vm")(s); s.Overhead = list("memory", "1Mi") })
	forbids(t, err, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	_, err = h.createPod("own", func(s *corev1.PodSpec) { s.Overhead = list("memory", "1Mi") })
	forbids(t, err, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
}

func TestIngressesGetTheDefaultClass(t *testing.T) {
	h := start(t)
	ctx := context.Background()
	ingress := func(name string) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: networkingv1.IngressSpec{
			DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
				Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}
	}
	made, err := h.client.NetworkingV1().Ingresses("default").Create(ctx, ingress("before"), metav1.CreateOptions{})
	if err != nil || made.Spec.IngressClassName != nil {
		t.Fatalf("without classes: %+v, %v", made.Spec, err)
	}
	h.have("networking.k8s.io", "ingressclasses", &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "main", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "example.com/c"}})
	made, err = h.client.NetworkingV1().Ingresses("default").Create(ctx, ingress("after"), metav1.CreateOptions{})
	if err != nil || made.Spec.IngressClassName == nil || *made.Spec.IngressClassName != "main" {
		t.Fatalf("%+v, %v", made.Spec, err)
	}
	old := ingress("old")
	old.Annotations = map[string]string{"kubernetes.io/ingress.class": "other"}
	made, err = h.client.NetworkingV1().Ingresses("default").Create(ctx, old, metav1.CreateOptions{})
	if err != nil || made.Spec.IngressClassName != nil {
		t.Fatalf("%+v, %v", made.Spec, err)
	}
}

func TestTolerationsOfRuntimeClassesAreMerged(t *testing.T) {
	seconds := func(n int64) *int64 { return &n }
	long := corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds(60)}
	short := corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds(6)}
	value := corev1.Toleration{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v", Effect: corev1.TaintEffectNoSchedule}
	all := corev1.Toleration{Operator: corev1.TolerationOpExists}
	for name, c := range map[string]struct{ pod, class, want []corev1.Toleration }{
		"equal":           {[]corev1.Toleration{value}, []corev1.Toleration{value}, []corev1.Toleration{value}},
		"longer wins":     {[]corev1.Toleration{short}, []corev1.Toleration{long}, []corev1.Toleration{long}},
		"longer stays":    {[]corev1.Toleration{long}, []corev1.Toleration{short}, []corev1.Toleration{long}},
		"different":       {[]corev1.Toleration{long}, []corev1.Toleration{value}, []corev1.Toleration{long, value}},
		"all of them":     {[]corev1.Toleration{value, long}, []corev1.Toleration{all}, []corev1.Toleration{all}},
		"what all covers": {[]corev1.Toleration{all}, []corev1.Toleration{value}, []corev1.Toleration{all}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod("", "")
			class := "c"
			p.GenerateName, p.Spec.RuntimeClassName, p.Spec.Tolerations = "p-", &class, c.pod
			facts := someFacts{"runtimeclasses": {&nodev1.RuntimeClass{
				ObjectMeta: metav1.ObjectMeta{Name: "c"}, Scheduling: &nodev1.Scheduling{Tolerations: c.class}}}}
			if err := kube.PreparePod(p, &corev1.ServiceAccount{}, facts); err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return strings.HasPrefix(t.Key, "node.kubernetes.io/") })
			if !equality.Semantic.DeepEqual(got, c.want) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
