package kube

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

var slicesResource = schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}

// proxyMethods are all that HTTP has.
var proxyMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}

// backend is where a proxied request goes.
type backend struct {
	scheme  string // http or https, whose certificate nobody checks: the way there is the cluster's own
	address string // host:port
	node    string // from which the address is reached
}

// proxied passes requests on to a pod, a service's endpoint or a node. find resolves the name in the path.
type proxied struct {
	options func() runtime.Object
	path    func(options runtime.Object) string
	find    func(ctx context.Context, scheme, name, port string) (*backend, error)
	nodes   NodeTransport
}

var _ rest.Connecter = (*proxied)(nil)

func (p *proxied) New() runtime.Object      { return p.options() }
func (p *proxied) Destroy()                 {}
func (p *proxied) ConnectMethods() []string { return proxyMethods }
func (p *proxied) NewConnectOptions() (runtime.Object, bool, string) {
	return p.options(), true, "path"
}

// Connect takes names as Kubernetes does: [scheme:]name[:port].
func (p *proxied) Connect(ctx context.Context, id string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid name %q: it must be [http|https:]name[:port]", id))
	}
	if p.nodes == nil {
		return nil, apierrors.NewServiceUnavailable("this server has no way to the nodes")
	}
	to, err := p.find(ctx, scheme, name, port)
	if err != nil {
		return nil, err
	}
	location := &url.URL{Scheme: to.scheme, Host: to.address, Path: strings.TrimPrefix(p.path(options), "/")}
	if location.Path != "" {
		location.Path = "/" + location.Path
	}
	h := proxy.NewUpgradeAwareHandler(location, p.transport(to), false, false, proxy.NewErrorResponder(r))
	h.UseLocationHost = true
	return h, nil
}

func (p *proxied) transport(to *backend) *http.Transport {
	return &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			if to.node == to.address { // the node itself
				return p.nodes.DialNode(ctx, to.node)
			}
			return dialFrom(ctx, p.nodes, to.node, address)
		},
	}
}

func (s *Server) podProxy(pods *registry.Store) *proxied {
	return &proxied{nodes: s.config.Nodes,
		options: func() runtime.Object { return &corev1.PodProxyOptions{} },
		path:    func(o runtime.Object) string { return o.(*corev1.PodProxyOptions).Path },
		find: func(ctx context.Context, scheme, name, port string) (*backend, error) {
			o, err := pods.Get(ctx, name, &metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			return podBackend(o.(*corev1.Pod), scheme, port)
		}}
}

func podBackend(p *corev1.Pod, scheme, port string) (*backend, error) {
	if p.Spec.NodeName == "" || p.Status.PodIP == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("address not allowed: pod %s has none yet", p.Name))
	}
	if port == "" {
		port = firstPort(p)
	}
	if port == "" {
		return &backend{orHTTP(scheme), p.Status.PodIP, p.Spec.NodeName}, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid port %q of pod %s: it must be a number", port, p.Name))
	}
	return &backend{orHTTP(scheme), net.JoinHostPort(p.Status.PodIP, port), p.Spec.NodeName}, nil
}

func firstPort(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		if len(c.Ports) > 0 {
			return strconv.Itoa(int(c.Ports[0].ContainerPort))
		}
	}
	return ""
}

func orHTTP(scheme string) string {
	if scheme == "" {
		return "http"
	}
	return scheme
}

func (s *Server) serviceProxy(services *registry.Store) *proxied {
	return &proxied{nodes: s.config.Nodes,
		options: func() runtime.Object { return &corev1.ServiceProxyOptions{} },
		path:    func(o runtime.Object) string { return o.(*corev1.ServiceProxyOptions).Path },
		find: func(ctx context.Context, scheme, name, port string) (*backend, error) {
			o, err := services.Get(ctx, name, &metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			service := o.(*corev1.Service)
			p, err := servicePort(service, port)
			if err != nil {
				return nil, err
			}
			return s.endpoint(service, p.Name, scheme)
		}}
}

// servicePort finds the port that a name or number means; "" means the only one.
func servicePort(s *corev1.Service, port string) (*corev1.ServicePort, error) {
	if port == "" && len(s.Spec.Ports) == 1 {
		return &s.Spec.Ports[0], nil
	}
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.Name == port || strconv.Itoa(int(p.Port)) == port {
			return p, nil
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, s.Name))
}

// endpoint picks one of the ready endpoints of a service's port.
func (s *Server) endpoint(service *corev1.Service, port, scheme string) (*backend, error) {
	var all []backend
	s.config.Store.Snapshot(slicesResource).Ascend(service.Namespace, "", func(ns, _ string, o runtime.Object) bool {
		slice := o.(*discoveryv1.EndpointSlice)
		if ns == service.Namespace && slice.Labels[discoveryv1.LabelServiceName] == service.Name {
			all = append(all, readyEndpoints(slice, port, orHTTP(scheme))...)
		}
		return ns == service.Namespace
	})
	if len(all) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", service.Name))
	}
	chosen := all[rand.IntN(len(all))]
	if chosen.node == "" {
		chosen.node = s.anyNode()
	}
	return &chosen, nil
}

func readyEndpoints(slice *discoveryv1.EndpointSlice, port, scheme string) []backend {
	var out []backend
	for _, p := range slice.Ports {
		if p.Port == nil || p.Name != nil && *p.Name != port || p.Name == nil && port != "" {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
				continue
			}
			b := backend{scheme: scheme, address: net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port)))}
			if e.NodeName != nil {
				b.node = *e.NodeName
			}
			out = append(out, b)
		}
	}
	return out
}

// anyNode is a ready node, for addresses that are outside of the cluster; "" if there is none.
func (s *Server) anyNode() (name string) {
	s.config.Store.Snapshot(nodesResource).Ascend("", "", func(_, n string, o runtime.Object) bool {
		for _, c := range o.(*corev1.Node).Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				name = n
			}
		}
		return name == ""
	})
	return name
}

// nodeProxy passes requests to the node's own HTTP handler.
func (s *Server) nodeProxy(nodes *registry.Store) *proxied {
	return &proxied{nodes: s.config.Nodes,
		options: func() runtime.Object { return &corev1.NodeProxyOptions{} },
		path:    func(o runtime.Object) string { return o.(*corev1.NodeProxyOptions).Path },
		find: func(ctx context.Context, _, name, _ string) (*backend, error) {
			if _, err := nodes.Get(ctx, name, &metav1.GetOptions{}); err != nil {
				return nil, err
			}
			return &backend{"http", name, name}, nil
		}}
}
