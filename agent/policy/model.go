package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/network"
)

// Model holds what a node knows. It is safe for concurrent use.
type Model struct {
	node map[netip.Addr]bool

	mu       sync.Mutex
	live     *objects
	next     *objects                // while a watch starts over: what it has told so far; nil otherwise
	attached map[types.UID]addresses // of this node's pods, as their network has them; the zero value is detached
	view     *View                   // of live and attached; nil when they have changed
	known    chan struct{}           // closed by the first Synced
}

// objects is one state of what is watched.
type objects struct {
	policies   map[name]*compiled
	namespaces map[string]labels.Set
	own        map[types.UID]*Pod // on this node
	others     map[types.UID]*Pod // on other nodes; complete only while there are policies
}

// addresses of a pod, one of each family; the second is the zero value in clusters of one.
type addresses struct{ first, second netip.Addr }

type name struct{ namespace, name string }

func (n name) compare(m name) int {
	return cmp.Or(cmp.Compare(n.namespace, m.namespace), cmp.Compare(n.name, m.name))
}

func newObjects() *objects {
	return &objects{policies: map[name]*compiled{}, namespaces: map[string]labels.Set{}, own: map[types.UID]*Pod{}, others: map[types.UID]*Pod{}}
}

// New makes an empty model for the node with these addresses.
func New(node ...netip.Addr) *Model {
	m := &Model{node: map[netip.Addr]bool{}, live: newObjects(), attached: map[types.UID]addresses{}, known: make(chan struct{})}
	for _, a := range node {
		m.node[a] = true
	}
	return m
}

// Begin says that a watch starts over. What was known stays in force until Synced; and after it too, but for this node's own pods, if the
// watch is one that does not tell of policies: pods must not be open because a server does not know of what closes them.
func (m *Model) Begin(keep bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = newObjects()
	if keep {
		m.next.policies, m.next.namespaces, m.next.others = maps.Clone(m.live.policies), maps.Clone(m.live.namespaces), maps.Clone(m.live.others)
	}
}

// Synced puts what was told since Begin in force; what was not told is gone.
func (m *Model) Synced() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next == nil {
		return
	}
	m.live, m.next, m.view = m.next, nil, nil
	maps.DeleteFunc(m.attached, func(uid types.UID, a addresses) bool { return !a.first.IsValid() && m.live.own[uid] == nil })
	select {
	case <-m.known:
	default:
		close(m.known)
	}
}

// Any says whether there are policies.
func (m *Model) Any() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.live.policies) > 0
}

// Known is closed once the model is complete for the first time.
func (m *Model) Known() <-chan struct{} { return m.known }

// change runs f on the objects that news go to, and forgets the view if f says that they have changed.
func (m *Model) change(f func(*objects) bool) (changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next != nil {
		f(m.next)
		return false
	}
	if !f(m.live) {
		return false
	}
	m.view = nil
	return true
}

// AddNode makes one more address the node's own.
func (m *Model) AddNode(a netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node = maps.Clone(m.node)
	m.node[a], m.view = true, nil
}

// PutPolicy takes a policy as it is now. This, and what follows, say whether anything that is in force has changed.
func (m *Model) PutPolicy(p *networkingv1.NetworkPolicy) bool {
	return m.change(func(o *objects) bool {
		o.policies[name{p.Namespace, p.Name}] = compile(p)
		return true
	})
}

// DeletePolicy forgets one. With the last one goes what is known of other nodes' pods: nobody tells of them any more.
func (m *Model) DeletePolicy(namespace, n string) bool {
	return m.change(func(o *objects) bool {
		delete(o.policies, name{namespace, n})
		if len(o.policies) == 0 {
			clear(o.others)
		}
		return true
	})
}

// PutNamespace takes the labels of a namespace.
func (m *Model) PutNamespace(n string, l map[string]string) bool {
	return m.change(func(o *objects) bool {
		old, had := o.namespaces[n]
		o.namespaces[n] = l
		return !had || !maps.Equal(old, l)
	})
}

// DeleteNamespace forgets one.
func (m *Model) DeleteNamespace(n string) bool {
	return m.change(func(o *objects) bool {
		delete(o.namespaces, n)
		return true
	})
}

// PutOwn takes a pod of this node.
func (m *Model) PutOwn(p *Pod) bool {
	return m.change(func(o *objects) bool { return putPod(o.own, p) })
}

// PutOther takes a pod of another node.
func (m *Model) PutOther(p *Pod) bool {
	return m.change(func(o *objects) bool { return putPod(o.others, p) })
}

func putPod(pods map[types.UID]*Pod, p *Pod) bool {
	old := pods[p.UID]
	pods[p.UID] = p
	return old == nil || !reflect.DeepEqual(old, p)
}

// DeletePod forgets a pod, of whatever node.
func (m *Model) DeletePod(uid types.UID) bool {
	return m.change(func(o *objects) bool {
		_, own := o.own[uid]
		_, other := o.others[uid]
		delete(o.own, uid)
		delete(o.others, uid)
		if a, ok := m.attached[uid]; ok && !a.first.IsValid() {
			delete(m.attached, uid)
		}
		return own || other
	})
}

// Attach says that a pod of this node has addresses, one of each family, before its object says so.
func (m *Model) Attach(uid types.UID, ips ...netip.Addr) {
	a := addresses{first: ips[0]}
	if len(ips) > 1 {
		a.second = ips[1]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.attached[uid], m.view = a, nil
}

// Detach says that a pod of this node has no address any more, whatever its object says: the next pod may get it.
func (m *Model) Detach(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view = nil
	if m.live.own[uid] == nil {
		delete(m.attached, uid)
		return
	}
	m.attached[uid] = addresses{}
}

// View is what is known now.
func (m *Model) View() *View {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == nil {
		m.view = m.makeView()
	}
	return m.view
}

func (m *Model) makeView() *View {
	v := &View{policies: map[string][]*compiled{}, namespaces: maps.Clone(m.live.namespaces), node: m.node, own: map[*Pod]bool{},
		byAddress: map[netip.Addr]*Pod{}, byTenant: map[string][]*Pod{},
		memo: map[*Pod]*[directions]verdict{}, peers: map[*rule][]network.AddrRange{}, named: map[namedPeers]map[uint16][]network.AddrRange{}}
	// In an order of their own, so that rules that have not changed are not written again.
	for _, n := range slices.SortedFunc(maps.Keys(m.live.policies), name.compare) {
		v.policies[n.namespace] = append(v.policies[n.namespace], m.live.policies[n])
	}
	if len(v.policies) == 0 {
		return v // nobody will ask about pods
	}
	for _, p := range m.live.others {
		v.add(p)
	}
	for uid, p := range m.live.own {
		if a, ok := m.attached[uid]; ok && a != (addresses{p.Address, p.Second}) {
			moved := *p
			moved.Address, moved.Second, p = a.first, a.second, &moved
		}
		v.own[p] = true
		v.add(p)
	}
	return v
}

// add notes a pod by its addresses. This node knows best who has one of its own, so its pods come last.
func (v *View) add(p *Pod) {
	if !p.Address.IsValid() {
		return
	}
	for _, a := range p.addresses() {
		v.byAddress[a] = p
	}
	v.byTenant[p.Namespace] = append(v.byTenant[p.Namespace], p)
}
