package kube

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/server"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/hooks"
)

// installAdmission makes the chain that all writes pass.
func (s *Server) installAdmission(cfg *server.Config) error {
	h, err := hooks.New(hooks.Config{State: state{s.config.Store}, Services: wayToServices{s}, Authorizer: s.config.Authorizer, Custom: customObjects{s}, Types: servedTypes{s}, Waits: idle})
	if err != nil {
		return err
	}
	cfg.EquivalentResourceRegistry = runtime.NewEquivalentResourceRegistry()
	s.admission = newAdmission(s.config.Store, s.config.Authorizer, h, &admission.RuntimeObjectInterfaces{ObjectCreater: api.Scheme, ObjectTyper: api.Scheme,
		ObjectDefaulter: api.Scheme, ObjectConvertor: api.Scheme, EquivalentResourceMapper: cfg.EquivalentResourceRegistry}, s.stopped)
	cfg.AdmissionControl = s.admission
	return nil
}

// servedTypes are the types that install makes a converter for, later.
type servedTypes struct{ s *Server }

func (t servedTypes) ObjectToTyped(o runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	return t.s.types.ObjectToTyped(o, opts...)
}

func (t servedTypes) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	return t.s.types.TypedToObject(v)
}

// wayToServices reaches what is behind services: servers have no part in the pod network, so they go through an endpoint's node.
type wayToServices struct{ s *Server }

var _ hooks.Services = wayToServices{}

// Endpoint implements hooks.Services.
func (w wayToServices) Endpoint(namespace, name string, port int32) (string, error) {
	service, ok := state{w.s.config.Store}.Object(servicesResource, namespace, name).(*corev1.Service)
	if !ok {
		return "", fmt.Errorf("service %s/%s is not there", namespace, name)
	}
	if isExternal(service) { // its ports are those of whoever has the name
		return net.JoinHostPort(service.Spec.ExternalName, strconv.Itoa(int(port))), nil
	}
	p, err := servicePort(service, strconv.Itoa(int(port)))
	if err != nil {
		return "", err
	}
	to, err := w.s.endpoint(service, p.Name, "https")
	if err != nil {
		return "", err
	}
	return to.address, nil
}

// isExternal says whether a service is but a name of something outside of the cluster.
func isExternal(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeExternalName }

// Dial implements hooks.Services. What is outside is dialled from here, like webhooks that are URLs.
func (w wayToServices) Dial(ctx context.Context, namespace, service, address string) (net.Conn, error) {
	if s, ok := (state{w.s.config.Store}).Object(servicesResource, namespace, service).(*corev1.Service); ok && isExternal(s) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	if w.s.config.Nodes == nil {
		return nil, fmt.Errorf("this server has no way to the nodes, and so none to service %s/%s", namespace, service)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	node := w.nodeOf(namespace, service, host)
	if node == "" {
		node = w.s.anyNode()
	}
	return dialFrom(ctx, w.s.config.Nodes, node, address)
}

// nodeOf is the node of a service's endpoint; "" if it is none of the cluster's.
func (w wayToServices) nodeOf(namespace, service, ip string) string {
	for _, slice := range factsOf[*discoveryv1.EndpointSlice](state{w.s.config.Store}, slicesResource, namespace) {
		if slice.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.NodeName != nil && slices.Contains(e.Addresses, ip) {
				return *e.NodeName
			}
		}
	}
	return ""
}

// ExamineHooks says which webhooks cannot be reached from here, and why.
func (s *Server) ExamineHooks(ctx context.Context) []hooks.Finding {
	return s.admission.hooks.Examine(ctx)
}
