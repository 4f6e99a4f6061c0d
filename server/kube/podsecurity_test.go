package kube_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/server/kube"
)

// heard are the warnings that a client got.
type heard struct {
	mu   sync.Mutex
	list []string
}

func (w *heard) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
}

func (w *heard) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.list
	w.list = nil
	return out
}

// listening is a client that hears warnings.
func (h *harness) listening() (*kubernetes.Clientset, *heard) {
	w, c := &heard{}, rest.CopyConfig(h.config)
	c.WarningHandler = w
	return kubernetes.NewForConfigOrDie(c), w
}

func secured(name, mode, level string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/" + mode: level}}}
}

func podIn(namespace string, change func(*corev1.PodSpec)) *corev1.Pod {
	p := pod("p", "")
	p.Namespace = namespace
	p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = "a", new(bool)
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func TestPodsKeepTheirNamespacesSecurity(t *testing.T) {
	h, ctx := start(t), context.Background()
	client, warnings := h.listening()
	for _, n := range []*corev1.Namespace{secured("strict", "enforce", "restricted"), secured("base", "enforce", "baseline"), secured("told", "warn", "restricted")} {
		if _, err := client.CoreV1().Namespaces().Create(ctx, n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.have("", "serviceaccounts", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: "a"}})
	}
	create := func(p *corev1.Pod) error {
		_, err := client.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	}
	forbids(t, create(podIn("strict", nil)), `pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`,
		`unrestricted capabilities (container "main" must set securityContext.capabilities.drop=["ALL"])`, "runAsNonRoot != true", "seccompProfile")
	if err := create(podIn("base", nil)); err != nil {
		t.Error(err)
	}
	network := podIn("base", func(s *corev1.PodSpec) { s.HostNetwork = true })
	network.Name = "q"
	forbids(t, create(network), `violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`)
	if err := create(podIn("told", nil)); err != nil {
		t.Error(err)
	}
	if got := warnings.take(); len(got) != 1 || !strings.HasPrefix(got[0], `would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false`) {
		t.Errorf("warnings %q", got)
	}
	yes, no := true, false
	good := podIn("strict", func(s *corev1.PodSpec) {
		s.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
		s.Containers[0].SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
	})
	if err := create(good); err != nil {
		t.Error(err)
	}
	_, err := client.CoreV1().Pods("strict").Patch(ctx, "p", types.StrategicMergePatchType,
		[]byte(`{"spec":{"ephemeralContainers":[{"name":"look","image":"i"}]}}`), metav1.PatchOptions{}, "ephemeralcontainers")
	forbids(t, err, `violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "look" must set`)
}

func TestWhatPodsAreMadeFromIsOnlyTold(t *testing.T) {
	h, ctx := start(t), context.Background()
	client, warnings := h.listening()
	n := secured("strict", "enforce", "restricted")
	n.Labels["pod-security.kubernetes.io/warn"], n.Labels["pod-security.kubernetes.io/warn-version"] = "baseline", "v1.24"
	if _, err := client.CoreV1().Namespaces().Create(ctx, n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	l := map[string]string{"app": "a"}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: l},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: podIn("strict", func(s *corev1.PodSpec) { s.HostPID = true }).Spec}}}
	if _, err := client.AppsV1().Deployments("strict").Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := warnings.take(); !slices.Equal(got, []string{`would violate PodSecurity "baseline:v1.24": host namespaces (hostPID=true)`}) {
		t.Errorf("warnings %q", got)
	}
}

func TestNamespacesSaySomethingSensible(t *testing.T) {
	h, ctx := start(t), context.Background()
	client, warnings := h.listening()
	_, err := client.CoreV1().Namespaces().Create(ctx, secured("bad", "enforce", "odd"), metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "odd": must be one of privileged, baseline, restricted`) {
		t.Errorf("%v", err)
	}
	if _, err := client.CoreV1().Pods("default").Create(ctx, pod("p", ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	warnings.take()
	patch := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	if _, err := client.CoreV1().Namespaces().Patch(ctx, "default", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	got := warnings.take()
	if len(got) < 2 || got[0] != `existing pods in namespace "default" violate the new PodSecurity enforce level "restricted:latest"` || !strings.HasPrefix(got[1], "p: allowPrivilegeEscalation != false") {
		t.Errorf("warnings %q", got)
	}
}

// A controller's pods do not come through the API.
func TestPreparedPodsKeepTheirNamespacesSecurity(t *testing.T) {
	facts := someFacts{"namespaces": {secured("strict", "enforce", "restricted")}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "strict", Name: "a"}}
	forbids(t, kube.PreparePod(podIn("strict", nil), account, facts), `violates PodSecurity "restricted:latest"`)
	if err := kube.PreparePod(podIn("default", nil), account, facts); err != nil {
		t.Error(err)
	}
}
