package reconcile

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// sliceManager is the value of the managed-by label of slices that this controller owns.
const sliceManager = "endpointslice-controller.k8s.io"

// service is a service's pods and slices. It lives while there is the service or a slice of ours.
type service struct {
	name types.NamespacedName
	// obj is nil while the service does not exist; selector is nil if it selects nothing.
	obj      *corev1.Service
	selector labels.Selector
	members  map[types.UID]*pod
	// changed are the pods whose endpoint has to be decided again.
	changed map[types.UID]struct{}
	slices  map[string]*object
	where   map[seat]string    // the slice that has the pod's endpoint
	mirrors map[string]*object // slices that show Endpoints which people wrote
}

// seat is a pod's endpoint of one family.
type seat struct {
	pod types.UID
	six bool
}

func seatOf(pod types.UID, family discoveryv1.AddressType) seat {
	return seat{pod, family == discoveryv1.AddressTypeIPv6}
}

func (e *Engine) serviceOf(ns, name string) *service {
	k := types.NamespacedName{Namespace: ns, Name: name}
	s := e.services[k]
	if s == nil {
		s = &service{name: k, members: map[types.UID]*pod{}, changed: map[types.UID]struct{}{}, slices: map[string]*object{}, where: map[seat]string{}, mirrors: map[string]*object{}}
		e.services[k] = s
	}
	return s
}

func (s *service) key() key { return key{area: areaService, ns: s.name.Namespace, name: s.name.Name} }

// noticedService takes in a new state of a service and finds its pods.
func (e *Engine) noticedService(o *object, ns, name string) {
	s := e.serviceOf(ns, name)
	s.obj, s.selector = nil, nil
	clear(s.members)
	if o != nil {
		s.obj = o.obj.(*corev1.Service)
		if len(s.obj.Spec.Selector) > 0 && s.obj.Spec.Type != corev1.ServiceTypeExternalName {
			s.selector = labels.SelectorFromValidatedSet(s.obj.Spec.Selector)
		}
	}
	if s.selector != nil {
		for p := range e.space(ns).pods.all() {
			if s.selector.Matches(labels.Set(p.rec.Labels())) {
				s.members[p.rec.UID] = p
			}
		}
	}
	s.changeAll()
	e.mark(s.key())
}

func (s *service) changeAll() {
	for uid := range s.members {
		s.changed[uid] = struct{}{}
	}
	for at := range s.where {
		s.changed[at.pod] = struct{}{}
	}
}

// servicesOf calls fn for every service that selects the pod.
func (e *Engine) servicesOf(p *pod, fn func(*service)) {
	sp := e.spaces[p.ns()]
	if sp == nil {
		return
	}
	for name := range sp.objects[Services] {
		s := e.services[types.NamespacedName{Namespace: p.ns(), Name: name}]
		if s != nil && s.selector != nil && s.selector.Matches(labels.Set(p.rec.Labels())) {
			fn(s)
		}
	}
}

func (e *Engine) indexMember(p *pod) {
	e.servicesOf(p, func(s *service) {
		s.members[p.rec.UID] = p
		e.endpointChanged(s, p)
	})
	e.indexBudgeted(p)
}

func (e *Engine) unindexMember(p *pod) {
	e.unindexBudgeted(p)
	e.servicesOf(p, func(s *service) {
		delete(s.members, p.rec.UID)
		e.endpointChanged(s, p)
	})
}

func (e *Engine) memberChanged(p *pod) {
	e.budgetedChanged(p)
	e.servicesOf(p, func(s *service) { e.endpointChanged(s, p) })
}

func (e *Engine) endpointChanged(s *service, p *pod) {
	if p.rec.Status.PodIP() == "" && s.where[seat{p.rec.UID, false}] == "" && s.where[seat{p.rec.UID, true}] == "" {
		return // it has no endpoint and cannot have one
	}
	s.changed[p.rec.UID] = struct{}{}
	e.mark(s.key())
	if s.obj != nil && s.obj.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		e.markBalancers() // its address goes where endpoints are
	}
}

// noticedSlice keeps the slices of ours by service; what differs from what is wanted is written again.
func (e *Engine) noticedSlice(old, o *object) {
	if old != nil {
		e.noticedMirror(old, false)
		if s := e.ownerOfSlice(old); s != nil {
			e.forgetSlice(s, old)
		}
	}
	if o == nil {
		return
	}
	e.noticedMirror(o, true)
	s := e.ownerOfSlice(o)
	if s == nil {
		return
	}
	s.slices[o.name] = o
	sl := o.obj.(*discoveryv1.EndpointSlice)
	for _, ep := range sl.Endpoints {
		if ep.TargetRef != nil {
			s.where[seatOf(ep.TargetRef.UID, sl.AddressType)] = o.name
			s.changed[ep.TargetRef.UID] = struct{}{}
		}
	}
	e.mark(s.key())
}

func (e *Engine) forgetSlice(s *service, o *object) {
	delete(s.slices, o.name)
	sl := o.obj.(*discoveryv1.EndpointSlice)
	for _, ep := range sl.Endpoints {
		if ep.TargetRef == nil {
			continue
		}
		if at := seatOf(ep.TargetRef.UID, sl.AddressType); s.where[at] == o.name {
			delete(s.where, at)
			s.changed[ep.TargetRef.UID] = struct{}{}
		}
	}
	e.mark(s.key())
}

// ownerOfSlice is the service that the slice is ours for; nil if somebody else manages it.
func (e *Engine) ownerOfSlice(o *object) *service {
	l := o.meta.GetLabels()
	if l[discoveryv1.LabelManagedBy] != sliceManager || l[discoveryv1.LabelServiceName] == "" {
		return nil
	}
	return e.serviceOf(o.ns, l[discoveryv1.LabelServiceName])
}

func (e *Engine) failedSlice(r ref, _ any) {
	for _, name := range slices.Sorted(maps.Keys(e.spaceServices(r.ns))) {
		if s := e.services[types.NamespacedName{Namespace: r.ns, Name: name}]; s != nil {
			s.changeAll()
			e.retry(s.key(), e.now)
		}
	}
}

func (e *Engine) spaceServices(ns string) map[string]*object {
	if sp := e.spaces[ns]; sp != nil {
		return sp.objects[Services]
	}
	return nil
}
