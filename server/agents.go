package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

var nodesResource = schema.GroupResource{Resource: "nodes"}

// registerMethods puts what peers may call on this server into the table.
func (s *Server) registerMethods(m *rpc.Methods) {
	rpc.RegisterStream(m, wire.MethodHeartbeat, rpc.Agents, s.heartbeat)
	rpc.Register(m, wire.MethodRegister, rpc.Agents, s.register)
	rpc.RegisterStream(m, wire.MethodWatch, rpc.Agents, s.watchNode)
	rpc.Register(m, wire.MethodGet, rpc.Nodes, s.getForNode)
	rpc.Register(m, wire.MethodWrite, rpc.Agents, s.writeForNode)
	rpc.Register(m, wire.MethodLease, rpc.Nodes, s.leaseForNode)
	rpc.Register(m, wire.MethodAwaitTables, rpc.Nodes, s.awaitTablesForNode)
	rpc.Register(m, wire.MethodToken, rpc.Nodes, s.tokenForNode)
	rpc.Register(m, wire.MethodRenew, rpc.Anyone, s.renew)
	rpc.Register(m, wire.MethodPropose, rpc.Servers, s.proposeForServer)
	rpc.Register(m, wire.MethodReadIndex, rpc.Servers, s.readIndexForServer)
	rpc.Register(m, wire.MethodGone, rpc.Servers, s.goneForServer)
	rpc.Register(m, wire.MethodAddServer, rpc.Servers, s.addServer)
	rpc.Register(m, wire.MethodGrant, rpc.Servers, s.leaseForServer)
	rpc.Register(m, wire.MethodTerm, rpc.Servers, s.termForServer)
	rpc.Register(m, wire.MethodRoot, rpc.Servers, s.rootForServer)
	rpc.Register(m, wire.MethodSealed, rpc.Servers, s.sealedForServer)
}

// heartbeat notes each sign of life and answers with who leads. A stream that ends otherwise than by
// the node's own word is a broken connection.
func (s *Server) heartbeat(_ context.Context, from rpc.Caller, q *wire.Heartbeats, stream *rpc.Stream) error {
	nodes, err := nodesOf(from.Peer, q.Nodes)
	if err != nil {
		return err
	}
	s.watchman.connected(nodes)
	defer s.watchman.broken(nodes)
	proxies := from.Role == pki.RoleNode
	if proxies {
		defer s.tables.forget(from.Name)
	}
	var told wire.HeartbeatReply
	for {
		var beat wire.Heartbeat
		if err := stream.Recv(&beat); err != nil {
			return err
		}
		s.watchman.heartbeat(nodes)
		if proxies {
			s.tables.report(from.Name, beat.Table)
		}
		leader := s.consensus.leader()
		if beat.Sequence-told.Sequence < wire.HeartbeatAnswers && leader == told.Leader && told.Sequence > 0 {
			continue
		}
		told = wire.HeartbeatReply{Sequence: beat.Sequence, Leader: leader, Servers: s.meta.servers(), LeaderContact: leader != ""}
		if err := stream.Send(&told); err != nil {
			return err
		}
	}
}

// register makes or refreshes the caller's Node object.
func (s *Server) register(ctx context.Context, from rpc.Caller, q *wire.Register) (*wire.Registered, error) {
	network, err := s.meta.network()
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	want := &corev1.Node{}
	if err := want.Unmarshal(q.Node); err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "the Node object: %v", err)
	}
	if !s.speaksFor(from.Peer, want.Name) {
		return nil, rpc.Errorf(rpc.CodeDenied, "%s may not register node %q", from.Peer, want.Name)
	}
	if from.Role == pki.RoleFleet && want.Labels[api.SimulatedLabel] != "true" {
		return nil, rpc.Errorf(rpc.CodeDenied, "%s has only nodes with label %s", from.Peer, api.SimulatedLabel)
	}
	if err := s.putNode(ctx, want); err != nil {
		return nil, err
	}
	return &wire.Registered{
		ServiceCIDR: network.ServiceCIDR.String(), ClusterCIDR: network.ClusterCIDR.String(), DNSAddress: network.DNSVIP().String(),
		ClusterDomain: network.Domain, Servers: s.meta.servers(), APIEndpoints: s.meta.apis(),
		ServiceCIDR6: prefixText(network.ServiceCIDR6), ClusterCIDR6: prefixText(network.ClusterCIDR6), DNSAddress6: addressText(network.DNSVIP6()),
	}, nil
}

// addressText is "" for no address.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// prefixText is "" for no prefix.
func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// nodeWriteTries bounds the races with the controllers that a registration may lose.
const nodeWriteTries = 8

func (s *Server) putNode(ctx context.Context, want *corev1.Node) error {
	for range nodeWriteTries {
		if err := s.store.Barrier(ctx); err != nil {
			return err
		}
		put := &ops.Put{Resource: nodesResource}
		if old, ok := s.state.Get(nodesResource, "", want.Name); ok {
			merged, changed := mergeNode(old.(*corev1.Node), want)
			if !changed {
				return nil
			}
			put.Object, put.Expect = merged, revisionOf(old)
		} else {
			put.Object, put.Expect = newNode(want, metav1.NewTime(s.now())), ops.Absent
		}
		results, err := s.store.Propose(ctx, put)
		if err != nil {
			return err
		}
		if results[0].OK() {
			return nil
		}
	}
	return rpc.Errorf(rpc.CodeUnavailable, "node %s is being changed by others; register again", want.Name)
}

func newNode(want *corev1.Node, now metav1.Time) *corev1.Node {
	n := want.DeepCopy()
	n.UID, n.CreationTimestamp, n.ResourceVersion, n.Generation = types.UID(uuid.NewUUID()), now, "", 0
	n.Spec.PodCIDR, n.Spec.PodCIDRs = "", nil
	return n
}

// mergeNode takes over what the node says of itself and keeps what others say of it: its labels and
// annotations are added to those that are there, conditions are replaced by type.
func mergeNode(old, want *corev1.Node) (*corev1.Node, bool) {
	n := old.DeepCopy()
	changed := mergeMap(&n.Labels, want.Labels)
	changed = mergeMap(&n.Annotations, want.Annotations) || changed
	conditions := n.Status.Conditions
	for _, c := range want.Status.Conditions {
		i := slices.IndexFunc(conditions, func(x corev1.NodeCondition) bool { return x.Type == c.Type })
		switch {
		case i < 0:
			conditions = append(conditions, c)
		case conditions[i].Status == c.Status && conditions[i].Reason == c.Reason, justRestarted(&conditions[i], &c):
		default:
			conditions[i] = c
		}
	}
	status := want.Status.DeepCopy()
	status.Conditions = conditions
	if status.VolumesAttached == nil {
		status.VolumesAttached = n.Status.VolumesAttached
	}
	keepDevices(&status.Capacity, old.Status.Capacity)
	keepDevices(&status.Allocatable, old.Status.Allocatable)
	n.Status = *status
	return n, changed || !apiEqual(&old.Status, status)
}

// keepDevices leaves the extended resources alone that others than the agent have given the node, as Kubernetes documents for people.
func keepDevices(now *corev1.ResourceList, old corev1.ResourceList) {
	for name, q := range old {
		if _, named := (*now)[name]; named || !api.ExtendedResource(name) {
			continue
		}
		if *now == nil {
			*now = corev1.ResourceList{}
		}
		(*now)[name] = q
	}
}

// justRestarted tells that a node which nobody has missed says that it is not ready yet: its agent was
// restarted, its pods run on, and they must not lose their endpoints for it.
func justRestarted(old, now *corev1.NodeCondition) bool {
	return now.Type == corev1.NodeReady && old.Status == corev1.ConditionTrue && now.Status == corev1.ConditionFalse
}

func mergeMap(into *map[string]string, from map[string]string) (changed bool) {
	for k, v := range from {
		if got, ok := (*into)[k]; ok && got == v {
			continue
		}
		if *into == nil {
			*into = map[string]string{}
		}
		(*into)[k], changed = v, true
	}
	return changed
}

// watchNode streams what the caller's node must do and know: its own pods and volumes, and whole tables that any
// node may read.
func (s *Server) watchNode(ctx context.Context, from rpc.Caller, q *wire.WatchRequest, stream *rpc.Stream) error {
	wanted := map[schema.GroupResource]bool{}
	for _, r := range q.Resources {
		gr := schema.ParseGroupResource(r)
		if !mayWatch(from.Role, gr) {
			return rpc.Errorf(rpc.CodeDenied, wire.RefusedWatch+"%s", gr)
		}
		wanted[gr] = true
	}
	// A server that has just started knows nothing: to tell a node that would make it kill its pods.
	if err := s.store.Barrier(ctx); err != nil {
		return rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	nodes, err := nodesOf(from.Peer, q.Nodes)
	if err != nil {
		return err
	}
	if err := s.awaitKnown(ctx, q.Since); err != nil {
		return rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	follow := fsm.Following{Nodes: nodes, Moves: wanted[podAddresses], Also: func(c *api.Change) bool { return wanted[c.Resource] && tellsNode(from.Name, c) }}
	if from.Role == pki.RoleFleet {
		follow.Pods = func(c *api.Change) bool { return concernsFleet(c.NewPod) }
	}
	view, pods, tail := s.state.TailNodes(follow)
	defer tail.Close()
	w := nodeWatch{stream: stream, fleet: from.Role == pki.RoleFleet, nodes: map[string]bool{}, moves: wanted[podAddresses], now: s.state.View}
	for _, n := range nodes {
		w.nodes[n] = true
	}
	w.policies = view.Table(fsm.Policies).Len()
	if missed, ok := s.missed(&w, from.Name, q.Since, wanted, view, pods); ok {
		s.resume(&w, q.Since, missed, wanted[secretsResource])
	} else {
		s.putAll(&w, from.Name, wanted, view, pods)
	}
	w.send(&wire.Event{Type: wire.EventSynced, Revision: view.Revision()})
	for {
		if err := cmp.Or(w.err, stream.Flush()); err != nil {
			return err
		}
		changes, err := tail.Next(ctx)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if err := s.pass(&w, c, wanted[secretsResource]); err != nil {
				return err
			}
		}
	}
}

// putAll sends all that exists of what a node asks for.
func (s *Server) putAll(w *nodeWatch, node string, wanted map[schema.GroupResource]bool, view *fsm.View, pods []*api.PodRecord) {
	for gr := range wanted {
		if gr != fsm.Pods && gr != podAddresses {
			view.Table(gr).Ascend("", "", func(ns, name string, obj runtime.Object) bool {
				c := &api.Change{Resource: gr, Namespace: ns, Name: name, New: obj}
				return !tellsNode(node, c) || !s.shows(c) || w.put(gr, obj) == nil
			})
		}
	}
	for _, p := range pods {
		if !w.fleet || concernsFleet(p) {
			w.putPod(p)
		}
	}
	if w.moves && w.policies > 0 {
		w.putAddresses(view)
	}
}

// mayWatch says what agents may ask for. Of their pods, of volumes and of Secrets they hear their own, or what all nodes need; a fleet
// serves no ingresses.
func mayWatch(role pki.Role, gr schema.GroupResource) bool {
	return gr == fsm.Pods || gr == podAddresses || gr == volumesResource || nodeMayList[gr] || gr == secretsResource && role != pki.RoleFleet
}

// nodeMayList are the tables that every node reads whole.
var nodeMayList = map[schema.GroupResource]bool{
	nodesResource:          true,
	{Resource: "services"}: true,
	{Resource: "endpointslices", Group: "discovery.k8s.io"}: true,
	fsm.Policies:             true,
	{Resource: "namespaces"}: true,
	ingressesResource:        true,
	ingressClassesResource:   true,
}

// podAddresses is no table: see wire.PodAddresses.
var podAddresses = schema.GroupResource{Resource: wire.PodAddresses}

// nodeWatch writes events and remembers its first error.
type nodeWatch struct {
	stream interface{ Queue(message any) error }
	nodes  map[string]bool
	fleet  bool
	pods   api.PodEncoder
	pod    []byte // encoded last; what is queued is a copy
	err    error

	moves    bool             // the node is to hear where the pods of others are
	policies int              // network policies that it was told of
	now      func() *fsm.View // the state as it is
}

func (w *nodeWatch) send(e *wire.Event) {
	if w.err == nil {
		w.err = w.stream.Queue(e)
	}
}

func (w *nodeWatch) put(gr schema.GroupResource, obj runtime.Object) error {
	b, err := api.Encode(obj)
	if err != nil {
		w.err = err
		return err
	}
	return w.putEncoded(gr, obj, b)
}

// encodedKey is where a change keeps its object's encoding for all nodes that hear of it.
type encodedKey struct{}

// putChange sends a changed object, encoded once for all nodes.
func (w *nodeWatch) putChange(c *api.Change) error {
	if b, ok := c.Shared().Load(encodedKey{}); ok {
		return w.putEncoded(c.Resource, c.New, b.([]byte))
	}
	b, err := api.Encode(c.New)
	if err != nil {
		w.err = err
		return err
	}
	c.Shared().Store(encodedKey{}, b)
	return w.putEncoded(c.Resource, c.New, b)
}

func (w *nodeWatch) putEncoded(gr schema.GroupResource, obj runtime.Object, b []byte) error {
	m := obj.(metav1.Object)
	w.send(&wire.Event{Type: wire.EventPut, Resource: gr.String(), Namespace: m.GetNamespace(), Name: m.GetName(),
		UID: string(m.GetUID()), Object: b, Revision: revisionOf(obj)})
	return w.err
}

func (w *nodeWatch) putPod(p *api.PodRecord) error {
	b, err := w.pods.AppendProto(w.pod[:0], p)
	if err != nil {
		w.err = err
		return err
	}
	w.pod = b
	w.send(&wire.Event{Type: wire.EventPut, Resource: fsm.Pods.String(), Namespace: p.Namespace(), Name: p.Name,
		UID: string(p.UID), Object: b, Revision: p.Revision})
	return w.err
}

func (w *nodeWatch) owns(p *api.PodRecord) bool { return p != nil && w.nodes[p.Node] }

func (w *nodeWatch) change(c *api.Change) error {
	if w.moves && c.Resource == fsm.Policies {
		w.countPolicies(c)
	}
	switch {
	case c.Resource == fsm.Pods && !w.owns(c.OldPod) && !w.owns(c.NewPod):
		return w.moved(c)
	case c.NewPod != nil && w.nodes[c.NewPod.Node]:
		return w.putPod(c.NewPod)
	case c.New != nil:
		return w.putChange(c)
	}
	e := &wire.Event{Type: wire.EventDeleted, Resource: c.Resource.String(), Namespace: c.Namespace, Name: c.Name, Revision: c.Revision}
	if c.OldPod != nil {
		e.UID = string(c.OldPod.UID)
	} else if m, ok := c.Old.(metav1.Object); ok {
		e.UID = string(m.GetUID())
	}
	w.send(e)
	return w.err
}

// getForNode reads one object that the node's pods name.
func (s *Server) getForNode(ctx context.Context, from rpc.Caller, q *wire.GetRequest) (*wire.GetReply, error) {
	gr := schema.ParseGroupResource(q.Resource)
	if err := s.store.Barrier(ctx); err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if err := s.state.WaitIndex(ctx, q.Index); err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if !s.nodeMayRead(from.Name, gr, q.Namespace, q.Name) {
		return &wire.GetReply{Denied: true}, nil
	}
	obj, ok := s.state.Get(gr, q.Namespace, q.Name)
	if !ok {
		return &wire.GetReply{}, nil
	}
	b, err := api.Encode(obj)
	if err != nil {
		return nil, err
	}
	return &wire.GetReply{Found: true, Object: b, Revision: revisionOf(obj)}, nil
}

// writeForNode commits what the node may write.
func (s *Server) writeForNode(ctx context.Context, from rpc.Caller, q *wire.WriteRequest) (*wire.WriteReply, error) {
	list, err := ops.Decode(q.Ops)
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v", err)
	}
	if err := s.agentMayWriteAll(ctx, from.Peer, list); err != nil {
		return nil, err
	}
	a := s.proposer.submit(ctx, &proposal{encoded: q.Ops, bulk: true}, true)
	if errors.Is(a.err, ErrTooLarge) {
		return nil, rpc.Errorf(rpc.CodeTooLarge, "%v", a.err)
	}
	if a.err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", a.err)
	}
	return &wire.WriteReply{Results: ops.EncodeResults(a.results), Index: a.index}, nil
}

// agentMayWriteAll refuses only when this server knows what is committed: the node may know of a pod's place before it does, and takes a
// refusal for final.
func (s *Server) agentMayWriteAll(ctx context.Context, from rpc.Peer, list []ops.Op) error {
	check := func() error {
		for _, op := range list {
			if err := s.agentMayWrite(from, op); err != nil {
				return err
			}
		}
		return nil
	}
	if check() == nil {
		return nil
	}
	if err := s.store.Barrier(ctx); err != nil {
		return rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if err := check(); err != nil {
		return rpc.Errorf(rpc.CodeDenied, "%v", err)
	}
	return nil
}

// proposeForServer commits what a follower forwards; it does not forward again.
func (s *Server) proposeForServer(ctx context.Context, _ rpc.Caller, q *wire.WriteRequest) (*wire.WriteReply, error) {
	if !s.consensus.Leading() {
		return &wire.WriteReply{NotLeader: true}, nil
	}
	a := s.proposer.submit(ctx, &proposal{encoded: q.Ops, bulk: len(q.Ops) > forwardedBulk}, false)
	switch {
	case errors.Is(a.err, errNotLeader):
		return &wire.WriteReply{NotLeader: true}, nil
	case a.err != nil:
		return &wire.WriteReply{Error: a.err.Error()}, nil
	}
	return &wire.WriteReply{Results: ops.EncodeResults(a.results), Index: a.index}, nil
}

func (s *Server) readIndexForServer(ctx context.Context, _ rpc.Caller, _ *wire.ReadIndexRequest) (*wire.ReadIndexReply, error) {
	if !s.leads() {
		return &wire.ReadIndexReply{NotLeader: true}, nil
	}
	index, err := s.barrier.Index(ctx)
	if err != nil {
		return &wire.ReadIndexReply{NotLeader: true}, nil
	}
	return &wire.ReadIndexReply{Index: index}, nil
}

// leader is where to send what only a leader can do.
func (s *Server) leader() (name, address string, err error) {
	name = s.consensus.leader()
	if name == "" || name == s.cfg.Name {
		return "", "", ErrNoLeader
	}
	address, err = s.addressOf(name)
	return name, address, err
}

// Forward sends a batch to the leader. A failure before anything was sent is errNotLeader, which may be
// tried again; any other leaves the outcome unknown.
func (s *Server) Forward(ctx context.Context, encoded []byte) (*wire.WriteReply, error) {
	name, address, err := s.leader()
	if err != nil {
		return nil, errNotLeader
	}
	conn, err := s.pool.Conn(ctx, name, address)
	if err != nil {
		return nil, errNotLeader
	}
	reply := &wire.WriteReply{}
	if err := conn.Call(ctx, wire.MethodPropose, &wire.WriteRequest{Ops: encoded}, reply); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return reply, nil
}
