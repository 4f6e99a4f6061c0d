package server

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// systemNamespaces exist in every cluster.
var systemNamespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, "kube-node-lease"}

// genesis makes what every cluster has, once, and brings what follows from the members up to date. A
// leader runs it when its term begins; nothing in it is done twice.
func (s *Server) genesis(ctx context.Context) error {
	if s.passport.Genesis != nil { // before there are secrets
		if err := s.foundKeyring(ctx); err != nil {
			return err
		}
	}
	if err := s.foundCluster(ctx); err != nil {
		return err
	}
	if err := s.foundTokens(ctx); err != nil {
		return err
	}
	if err := s.foundFrontProxy(ctx); err != nil {
		return err
	}
	var list []ops.Op
	for _, name := range systemNamespaces {
		list = append(list, s.unlessThere("", "namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})...)
	}
	network, err := s.meta.network()
	if err != nil {
		return err
	}
	list = append(list, s.unlessThere("", "services", kubernetesService(network))...)
	if err := s.propose(ctx, list...); err != nil {
		return err
	}
	if err := s.furnish(ctx); err != nil {
		return err
	}
	if err := s.foundStorage(ctx); err != nil {
		return err
	}
	if err := s.foundIngress(ctx); err != nil {
		return err
	}
	return s.foundPolicy(ctx)
}

// foundCluster puts the first server's CA and choices into the log.
func (s *Server) foundCluster(ctx context.Context) error {
	if s.passport.Genesis == nil {
		return nil
	}
	_, err := s.proposer.Propose(ctx,
		&ops.PutMeta{Key: metaCA, Value: mustJSON(s.passport.Genesis), IfAbsent: true},
		&ops.PutMeta{Key: metaGossip, Value: s.passport.GossipKey, IfAbsent: true},
		&ops.PutMeta{Key: metaNetwork, Value: mustJSON(s.cfg.Network), IfAbsent: true},
		&ops.PutMeta{Key: metaFencing, Value: mustJSON(s.cfg.Fencing.Lease), IfAbsent: true},
		&ops.PutMeta{Key: metaServer + s.cfg.Name, Value: mustJSON(member{RPC: s.cfg.AdvertiseRPC, API: s.cfg.AdvertiseAPI})})
	if err != nil {
		return fmt.Errorf("founding the cluster: %w", err)
	}
	s.passport.Genesis = nil
	return s.passport.Save(s.cfg.DataDir)
}

// unlessThere makes the op that creates an object of a built-in kind, as the API would have made it.
func (s *Server) unlessThere(group, resource string, obj runtime.Object) []ops.Op {
	gr := schema.GroupResource{Group: group, Resource: resource}
	m := obj.(metav1.Object)
	if _, ok := s.state.Get(gr, m.GetNamespace(), m.GetName()); ok {
		return nil
	}
	k := api.KindFor(gr)
	if k.PrepareForCreate != nil {
		k.PrepareForCreate(obj)
	}
	if k.Default != nil {
		k.Default(obj)
	}
	if k.HasGeneration {
		m.SetGeneration(1)
	}
	m.SetUID(types.UID(uuid.NewUUID()))
	m.SetCreationTimestamp(metav1.NewTime(s.now()))
	return []ops.Op{&ops.Put{Resource: gr, Object: obj, Expect: ops.Absent}}
}

// kubernetesService is how pods reach the API.
func kubernetesService(n Network) *corev1.Service {
	vip := n.KubernetesVIP().String()
	policy := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: vip, ClusterIPs: []string{vip}, IPFamilyPolicy: &policy,
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(6443)}}},
	}
}

var (
	slicesResource    = schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}
	endpointsResource = schema.GroupResource{Resource: "endpoints"}
)

// apiEndpoints keeps the endpoints of the kubernetes service equal to the members' API addresses.
func (s *Server) apiEndpoints(ctx context.Context) error {
	var addresses []string
	port := int32(6443)
	for _, a := range s.meta.apis() {
		if at, err := netip.ParseAddrPort(a); err == nil {
			addresses = append(addresses, at.Addr().String())
			port = int32(at.Port())
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	slice := apiSlice(addresses, port)
	old, ok := s.state.Get(slicesResource, slice.Namespace, slice.Name)
	if !ok {
		return s.propose(ctx, append(s.unlessThere(discoveryv1.GroupName, "endpointslices", slice),
			s.unlessThere("", "endpoints", apiEndpointsObject(addresses, port))...)...)
	}
	was := old.(*discoveryv1.EndpointSlice)
	if apiEqual(was.Endpoints, slice.Endpoints) && apiEqual(was.Ports, slice.Ports) {
		return nil
	}
	next := was.DeepCopy()
	next.Endpoints, next.Ports = slice.Endpoints, slice.Ports
	list := []ops.Op{&ops.Put{Resource: slicesResource, Object: next, Expect: revisionOf(was)}}
	if legacy, ok := s.state.Get(endpointsResource, slice.Namespace, slice.Name); ok {
		e := legacy.(*corev1.Endpoints).DeepCopy()
		e.Subsets = apiEndpointsObject(addresses, port).Subsets
		list = append(list, &ops.Put{Resource: endpointsResource, Object: e, Expect: revisionOf(legacy)})
	}
	return s.propose(ctx, list...)
}

func apiSlice(addresses []string, port int32) *discoveryv1.EndpointSlice {
	name, tcp, yes := "https", corev1.ProtocolTCP, true
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes",
			Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &tcp, Port: &port}},
	}
	for _, a := range addresses {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}})
	}
	return out
}

func apiEndpointsObject(addresses []string, port int32) *corev1.Endpoints {
	subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}}}
	for _, a := range addresses {
		subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: a})
	}
	return &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes",
		Labels: map[string]string{"endpointslice.kubernetes.io/skip-mirror": "true"}}, Subsets: []corev1.EndpointSubset{subset}}
}

// propose commits ops of this server's own and fails if one did not apply otherwise than by being
// there already.
func (s *Server) propose(ctx context.Context, list ...ops.Op) error {
	if len(list) == 0 {
		return nil
	}
	results, err := s.proposer.Propose(ctx, list...)
	if err != nil {
		return err
	}
	var faults []string
	for i := range results {
		for _, o := range results[i].Rows {
			if o != ops.Applied && o != ops.Found {
				faults = append(faults, fmt.Sprintf("%T: outcome %d %s", list[i], o, results[i].Detail))
			}
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("the state refused: %s", strings.Join(faults, "; "))
	}
	return nil
}
