package kube_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/peapod-sh/peapod/server/kube"
)

// fakeMeters are the usage handlers of several nodes; those that it has not do not answer.
type fakeMeters struct {
	address map[string]string // by node
	mu      sync.Mutex
	asked   []string // NODE PATH
}

func (f *fakeMeters) DialNode(ctx context.Context, node string) (net.Conn, error) {
	if f.address[node] == "" {
		return nil, errors.New("no way there")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", f.address[node])
}

// serve has a node tell that each of its pods uses 10 thousandths of a CPU.
func (f *fakeMeters) serve(t *testing.T, node string, pods ...string) {
	usage := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("1Mi")}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, node+" "+r.URL.String())
		f.mu.Unlock()
		var m interface{ Marshal() ([]byte, error) } = &metricsv1beta1.NodeMetrics{ObjectMeta: metav1.ObjectMeta{Name: node}, Usage: usage}
		if r.URL.Path == "/usage" {
			list := &metricsv1beta1.PodMetricsList{}
			for _, p := range pods {
				list.Items = append(list.Items, metricsv1beta1.PodMetrics{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: p},
					Containers: []metricsv1beta1.ContainerMetrics{{Name: "main", Usage: usage}, {Name: "side", Usage: usage}}})
			}
			m = list
		}
		b, err := m.Marshal()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	f.address[node] = strings.TrimPrefix(s.URL, "http://")
}

func TestResourceMetrics(t *testing.T) {
	nodes := &fakeMeters{address: map[string]string{}}
	nodes.serve(t, "node1", "a", "b")
	nodes.serve(t, "node2", "c", "stranger")
	nodes.serve(t, "node3")
	h := start(t, func(c *kube.Config) { c.Nodes = nodes })
	ctx := context.Background()
	for name, node := range map[string]string{"a": "node1", "b": "node1", "c": "node2", "lost": "gone"} {
		p := pod(name, node)
		p.Labels = map[string]string{"app": name}
		if _, err := h.client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		p.Status.Phase = corev1.PodRunning
		if _, err := h.client.CoreV1().Pods("default").UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"node1", "gone"} {
		if _, err := h.client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n, Labels: map[string]string{"name": n}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	m := versioned.NewForConfigOrDie(h.config).MetricsV1beta1()

	list, err := m.PodMetricses("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range list.Items {
		names = append(names, i.Name)
	}
	if got := strings.Join(names, " "); got != "a b c" {
		t.Errorf("of pods of which one is on a node that does not answer: %s", got)
	}
	for _, asked := range nodes.asked {
		if !strings.HasSuffix(asked, " /usage?namespace=default") || strings.HasPrefix(asked, "node3") {
			t.Errorf("asked %s", asked)
		}
	}
	if list, err = m.PodMetricses("default").List(ctx, metav1.ListOptions{LabelSelector: "app=c"}); err != nil || len(list.Items) != 1 || list.Items[0].Name != "c" {
		t.Errorf("by label: %+v, %v", list, err)
	}
	one, err := m.PodMetricses("default").Get(ctx, "b", metav1.GetOptions{})
	if err != nil || len(one.Containers) != 2 || one.Containers[0].Usage.Cpu().MilliValue() != 10 {
		t.Errorf("one pod: %+v, %v", one, err)
	}
	if _, err := m.PodMetricses("default").Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}
	if _, err := m.PodMetricses("default").Get(ctx, "lost", metav1.GetOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a pod whose node does not answer: %v", err)
	}
	all, err := m.NodeMetricses().List(ctx, metav1.ListOptions{})
	if err != nil || len(all.Items) != 1 || all.Items[0].Labels["name"] != "node1" || all.Items[0].Usage.Memory().Value() != 1<<20 {
		t.Errorf("nodes: %+v, %v", all, err)
	}
	if _, err := m.NodeMetricses().Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a node that is not there: %v", err)
	}
}
