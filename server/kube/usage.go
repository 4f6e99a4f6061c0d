package kube

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/peapod-sh/peapod/api"
)

// meters serves the resource metrics API (metrics.k8s.io), which `kubectl top` asks: what pods and nodes use at this moment. Nothing of
// it is kept here; whoever asks has the nodes in question asked, all at once.
type meters struct {
	pods, nodes *registry.Store
	transport   NodeTransport
	warn        func(message string, args ...any)
}

const (
	// nodesAskedAtOnce bounds the nodes that one request has asked at the same time.
	nodesAskedAtOnce = 64
	// usagePatience bounds the wait for one node. Without its answer the others' are given.
	usagePatience = 3 * time.Second
	// usageAnswerMax bounds a node's answer, in bytes.
	usageAnswerMax = 64 << 20
)

// storages are what is served under metrics.k8s.io.
func (m *meters) storages() served { return served{"pods": podMeter{m}, "nodes": nodeMeter{m}} }

type message interface{ Unmarshal([]byte) error }

func (m *meters) ask(ctx context.Context, node, path string, into message) error {
	return askNode(ctx, m.transport, node, path, into)
}

// UsageOn asks a node what its pods of a namespace use.
func UsageOn(ctx context.Context, nodes NodeTransport, node, namespace string) ([]metricsv1beta1.PodMetrics, error) {
	var answer metricsv1beta1.PodMetricsList
	err := askNode(ctx, nodes, node, podUsagePath(namespace), &answer)
	return answer.Items, err
}

func podUsagePath(namespace string) string { return "/usage?namespace=" + namespace }

// askNode reads one answer of a node's agent.
func askNode(ctx context.Context, nodes NodeTransport, node, path string, into message) error {
	idle(ctx)
	ctx, cancel := context.WithTimeout(ctx, usagePatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path, nil)
	if err != nil {
		return err
	}
	resp, err := nodeClient(nodes, node).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, usageAnswerMax))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("node %s answers %s: %s", node, resp.Status, b)
	}
	return into.Unmarshal(b)
}

// nodeClient speaks HTTP to a node's agent.
func nodeClient(nodes NodeTransport, node string) *http.Transport {
	return &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := nodes.DialNode(ctx, node)
			if err != nil {
				return nil, fmt.Errorf("reaching node %s: %w", node, err)
			}
			return c, nil
		},
	}
}

// askAll has several nodes asked at once. Those that do not answer are left out.
func (m *meters) askAll(ctx context.Context, nodes []string, ask func(ctx context.Context, node string) error) {
	var g errgroup.Group
	g.SetLimit(nodesAskedAtOnce)
	for _, n := range nodes {
		g.Go(func() error {
			if err := ask(ctx, n); err != nil && ctx.Err() == nil {
				m.warn("a node does not tell what it uses", "node", n, "error", err)
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
}

func (m *meters) reachable() error {
	if m.transport == nil {
		return apierrors.NewServiceUnavailable("this server has no way to the nodes")
	}
	return nil
}

// podMeter serves PodMetrics.
type podMeter struct{ *meters }

// nodeMeter serves NodeMetrics.
type nodeMeter struct{ *meters }

var (
	_ rest.Lister = podMeter{}
	_ rest.Getter = podMeter{}
	_ rest.Lister = nodeMeter{}
	_ rest.Getter = nodeMeter{}
)

func (podMeter) New() runtime.Object     { return &metricsv1beta1.PodMetrics{} }
func (podMeter) NewList() runtime.Object { return &metricsv1beta1.PodMetricsList{} }
func (podMeter) Destroy()                {}
func (podMeter) NamespaceScoped() bool   { return true }
func (podMeter) GetSingularName() string { return "" }

func (nodeMeter) New() runtime.Object     { return &metricsv1beta1.NodeMetrics{} }
func (nodeMeter) NewList() runtime.Object { return &metricsv1beta1.NodeMetricsList{} }
func (nodeMeter) Destroy()                {}
func (nodeMeter) NamespaceScoped() bool   { return false }
func (nodeMeter) GetSingularName() string { return "" }

// List asks the nodes on which the pods in question are.
func (m podMeter) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	if err := m.reachable(); err != nil {
		return nil, err
	}
	list, err := m.pods.List(ctx, selected(o))
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	var nodes []string
	for i := range list.(*corev1.PodList).Items {
		p := &list.(*corev1.PodList).Items[i]
		wanted[p.Namespace+"/"+p.Name] = true
		if p.Spec.NodeName != "" && p.Status.Phase == corev1.PodRunning {
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	slices.Sort(nodes)
	out := &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{}}
	path := podUsagePath(request.NamespaceValue(ctx))
	var mu sync.Mutex
	m.askAll(ctx, slices.Compact(nodes), func(ctx context.Context, node string) error {
		var answer metricsv1beta1.PodMetricsList
		if err := m.ask(ctx, node, path, &answer); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, pm := range answer.Items {
			if wanted[pm.Namespace+"/"+pm.Name] {
				out.Items = append(out.Items, pm)
			}
		}
		return nil
	})
	slices.SortFunc(out.Items, func(a, b metricsv1beta1.PodMetrics) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out, ctx.Err()
}

// selected keeps of a list's options what chooses objects.
func selected(o *internalversion.ListOptions) *internalversion.ListOptions {
	if o == nil {
		return &internalversion.ListOptions{}
	}
	return &internalversion.ListOptions{LabelSelector: o.LabelSelector, FieldSelector: o.FieldSelector}
}

// Get asks the pod's node.
func (m podMeter) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if err := m.reachable(); err != nil {
		return nil, err
	}
	notFound := apierrors.NewNotFound(metricsv1beta1.Resource("podmetrics"), request.NamespaceValue(ctx)+"/"+name)
	o, err := m.pods.Get(ctx, name, &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, notFound
	}
	if err != nil {
		return nil, err
	}
	var answer metricsv1beta1.PodMetricsList
	if node := o.(*corev1.Pod).Spec.NodeName; node != "" {
		if err := m.ask(ctx, node, podUsagePath(request.NamespaceValue(ctx)), &answer); err != nil {
			return nil, apierrors.NewServiceUnavailable(err.Error())
		}
	}
	if i := slices.IndexFunc(answer.Items, func(pm metricsv1beta1.PodMetrics) bool { return pm.Name == name }); i >= 0 {
		return &answer.Items[i], nil
	}
	return nil, notFound
}

// List asks every node that is chosen.
func (m nodeMeter) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	if err := m.reachable(); err != nil {
		return nil, err
	}
	list, err := m.nodes.List(ctx, selected(o))
	if err != nil {
		return nil, err
	}
	var names []string
	labels := map[string]map[string]string{}
	for _, n := range list.(*corev1.NodeList).Items {
		names = append(names, n.Name)
		labels[n.Name] = n.Labels
	}
	out := &metricsv1beta1.NodeMetricsList{Items: []metricsv1beta1.NodeMetrics{}}
	var mu sync.Mutex
	m.askAll(ctx, names, func(ctx context.Context, node string) error {
		var answer metricsv1beta1.NodeMetrics
		if err := m.ask(ctx, node, "/usage/node", &answer); err != nil {
			return err
		}
		answer.Labels = labels[node]
		mu.Lock()
		defer mu.Unlock()
		out.Items = append(out.Items, answer)
		return nil
	})
	slices.SortFunc(out.Items, func(a, b metricsv1beta1.NodeMetrics) int { return cmp.Compare(a.Name, b.Name) })
	return out, ctx.Err()
}

// Get asks one node.
func (m nodeMeter) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if err := m.reachable(); err != nil {
		return nil, err
	}
	o, err := m.nodes.Get(ctx, name, &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewNotFound(metricsv1beta1.Resource("nodemetrics"), name)
	}
	if err != nil {
		return nil, err
	}
	var answer metricsv1beta1.NodeMetrics
	if err := m.ask(ctx, name, "/usage/node", &answer); err != nil {
		return nil, apierrors.NewServiceUnavailable(err.Error())
	}
	answer.Labels = o.(*corev1.Node).Labels
	return &answer, nil
}

// ConvertToTable implements rest.TableConvertor.
func (podMeter) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return tables{usageTable("PodMetrics"), time.Now}.ConvertToTable(ctx, o, options)
}

// ConvertToTable implements rest.TableConvertor.
func (nodeMeter) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return tables{usageTable("NodeMetrics"), time.Now}.ConvertToTable(ctx, o, options)
}

func usageTable(kind string) *api.Kind {
	return &api.Kind{Name: kind, Row: usageRow, Columns: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "The name of the pod or node."},
		{Name: "CPU", Type: "string", Description: "Processors in use."},
		{Name: "Memory", Type: "string", Description: "The working set."},
		{Name: "Window", Type: "string", Description: "The time of which the processors' use is the mean."},
	}}
}

func usageRow(o runtime.Object, _ time.Time) []any {
	usage, window := corev1.ResourceList{}, metav1.Duration{}
	switch o := o.(type) {
	case *metricsv1beta1.NodeMetrics:
		usage, window = o.Usage, o.Window
	case *metricsv1beta1.PodMetrics:
		window = o.Window
		for _, c := range o.Containers {
			for name, q := range c.Usage {
				sum := usage[name]
				sum.Add(q)
				usage[name] = sum
			}
		}
	}
	name := ""
	if m, err := meta.Accessor(o); err == nil {
		name = m.GetName()
	}
	return []any{name, strconv.FormatInt(usage.Cpu().MilliValue(), 10) + "m",
		strconv.FormatInt(usage.Memory().Value()>>20, 10) + "Mi", window.Round(time.Second).String()}
}
