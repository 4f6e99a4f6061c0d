package reconcile

import (
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched"
)

// ref names an object of any kind.
type ref struct {
	gr       schema.GroupResource
	ns, name string
}

func compareRefs(a, b ref) int {
	if c := strings.Compare(a.gr.Group, b.gr.Group); c != 0 {
		return c
	}
	if c := strings.Compare(a.gr.Resource, b.gr.Resource); c != 0 {
		return c
	}
	if c := strings.Compare(a.ns, b.ns); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

func refOf(gr schema.GroupResource, o runtime.Object) ref {
	m := mustMeta(o)
	return ref{gr, m.GetNamespace(), m.GetName()}
}

func mustMeta(o runtime.Object) metav1.Object {
	m, err := meta.Accessor(o)
	if err != nil {
		panic("reconcile: an object without metadata: " + err.Error())
	}
	return m
}

// object is anything but a pod, as last observed.
type object struct {
	ref
	obj  runtime.Object
	meta metav1.Object
	rev  uint64
	// derived is what was computed from the spec; it is handed on while the generation stays, since whoever writes a spec raises it.
	derived *derived
}

// derived is what a rollout wants to know of a Deployment or ReplicaSet again and again.
type derived struct {
	selector labels.Selector // of a Deployment
	template []byte          // the pod template's encoding, but for the hash label
}

// pod is a pod as last observed, and what this engine has decided about it since.
type pod struct {
	rec  *api.PodRecord
	doom doom
	// counted is the pod's share of its controller's flock.
	counted tally
	// at is what the scheduler's table knows of it since it is bound.
	at sched.Place
	// seats are the pod's places in herds.
	seats [seats]int32
}

// doom is a deletion that was decided and not yet observed.
type doom uint8

const (
	stays   doom = iota
	leaving      // will terminate gracefully
	gone         // will be removed at once
)

func (p *pod) ns() string     { return p.rec.Template.Pod.Namespace }
func (p *pod) name() string   { return p.rec.Name }
func (p *pod) deleting() bool { return p.rec.Deleting() || p.doom != stays }

// space is a namespace's content; the one without a name has the objects of kinds that have no namespace.
type space struct {
	objects map[schema.GroupResource]map[string]*object
	pods    *roll              // by name
	orphans map[types.UID]*pod // active pods without a controller
	loose   map[string]*object // ReplicaSets without a controller, by name
}

// model is the indexed view of everything observed.
type model struct {
	objects   map[ref]*object
	byUID     map[types.UID]ref // objects; pods are in podsByUID
	podsByUID *roll
	kindsSeen map[schema.GroupKind]bool
	// definedKinds are those that definitions make.
	definedKinds map[schema.GroupKind]*definedKind
	dependents   map[types.UID]map[ref]struct{} // objects by owner; pods are in flocks
	flocks       map[types.UID]*flock
	lastFlock    *flock // that was asked for: pods of one owner come one after the other
	spaces       map[string]*space
	onNode       map[string]*herd
	services     map[types.NamespacedName]*service
	ended        map[types.UID]*pod // that have ended, if they are counted
	holders      map[string]ref     // services by address
	refused      map[ref]string     // why admission does not let a workload's pods in
	wanting      map[string]int     // how many claims and volumes want a class of attributes
	turned       map[string][]turn  // conditions of nodes that changed and of which nobody has been told yet
}

func newModel() model {
	return model{
		objects: map[ref]*object{}, byUID: map[types.UID]ref{}, podsByUID: newRoll(uidOf), kindsSeen: map[schema.GroupKind]bool{}, definedKinds: map[schema.GroupKind]*definedKind{},
		dependents: map[types.UID]map[ref]struct{}{},
		flocks:     map[types.UID]*flock{}, spaces: map[string]*space{},
		onNode: map[string]*herd{}, services: map[types.NamespacedName]*service{},
		ended: map[types.UID]*pod{}, holders: map[string]ref{}, refused: map[ref]string{}, wanting: map[string]int{}, turned: map[string][]turn{},
	}
}

func (m *model) space(ns string) *space {
	s := m.spaces[ns]
	if s == nil {
		s = &space{objects: map[schema.GroupResource]map[string]*object{}, pods: newRoll((*pod).name), orphans: map[types.UID]*pod{}, loose: map[string]*object{}}
		m.spaces[ns] = s
	}
	return s
}

// list is a namespace's objects of one kind, by name.
func (m *model) list(ns string, gr schema.GroupResource) []*object {
	s := m.spaces[ns]
	if s == nil {
		return nil
	}
	byName := s.objects[gr]
	out := make([]*object, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

// object finds an observed object; nil if there is none.
func (m *model) object(gr schema.GroupResource, ns, name string) *object {
	return m.objects[ref{gr, ns, name}]
}

// podsByName sorts pods by namespace and name.
func podsByName(pods iter.Seq[*pod]) []*pod {
	out := slices.Collect(pods)
	slices.SortFunc(out, func(a, b *pod) int {
		if c := strings.Compare(a.ns(), b.ns()); c != 0 {
			return c
		}
		return strings.Compare(a.name(), b.name())
	})
	return out
}

// pod finds an observed pod; nil if there is none.
func (m *model) pod(ns, name string) *pod {
	if s := m.spaces[ns]; s != nil {
		return s.pods.get(name)
	}
	return nil
}

// exists finds the object or pod with the UID.
func (m *model) exists(uid types.UID) (ref, bool) {
	if p := m.podsByUID.get(string(uid)); p != nil {
		return ref{Pods, p.ns(), p.name()}, true
	}
	r, there := m.byUID[uid]
	return r, there
}

// podByUID finds a pod by name if it still is the one with the UID.
func (m *model) podByUID(ns, name string, uid types.UID) *pod {
	p := m.pod(ns, name)
	if p == nil || p.rec.UID != uid {
		return nil
	}
	return p
}

// terminating says whether the namespace is absent or going away, so that nothing may be made in it.
func (m *model) terminating(ns string) bool {
	o := m.object(Namespaces, "", ns)
	return o != nil && o.meta.GetDeletionTimestamp() != nil
}

// observeObject indexes the change and marks what it concerns.
func (e *Engine) observeObject(c *api.Change) {
	r := ref{c.Resource, c.Namespace, c.Name}
	old := e.objects[r]
	if old != nil && (c.New == nil || mustMeta(c.New).GetUID() != old.meta.GetUID()) {
		e.dropObject(old)
		e.noticed(old, nil)
		old = nil
	}
	if c.New == nil {
		return
	}
	o := &object{ref: r, obj: c.New, meta: mustMeta(c.New), rev: c.Revision}
	if v, err := strconv.ParseUint(o.meta.GetResourceVersion(), 10, 64); err == nil && v != 0 {
		o.rev = v
	}
	e.indexObject(old, o)
	e.noticed(old, o)
}

func (e *Engine) indexObject(old, o *object) {
	e.objects[o.ref] = o
	e.byUID[o.meta.GetUID()] = o.ref
	if gk := o.obj.GetObjectKind().GroupVersionKind().GroupKind(); !gk.Empty() {
		e.kindsSeen[gk] = true
	}
	e.learnKind(o)
	if old != nil {
		if old.meta.GetGeneration() == o.meta.GetGeneration() {
			o.derived = old.derived
		}
	}
	e.linkOwners(old, o)
	s := e.space(o.ns)
	if s.objects[o.gr] == nil {
		s.objects[o.gr] = map[string]*object{}
	}
	s.objects[o.gr][o.name] = o
	if o.gr == ReplicaSets {
		delete(s.loose, o.name)
		if metav1.GetControllerOfNoCopy(o.meta) == nil {
			s.loose[o.name] = o
		}
	}
}

func (e *Engine) dropObject(o *object) {
	delete(e.objects, o.ref)
	delete(e.byUID, o.meta.GetUID())
	e.unlinkOwners(o)
	if s := e.spaces[o.ns]; s != nil {
		delete(s.objects[o.gr], o.name)
		if o.gr == ReplicaSets {
			delete(s.loose, o.name)
		}
	}
}

// linkOwners notes whose dependent the object is. A status says nothing new of that.
func (e *Engine) linkOwners(old, o *object) {
	owners := o.meta.GetOwnerReferences()
	if old != nil {
		if slices.EqualFunc(old.meta.GetOwnerReferences(), owners, func(a, b metav1.OwnerReference) bool { return a.UID == b.UID }) {
			return
		}
		e.unlinkOwners(old)
	}
	for i := range owners {
		if e.dependents[owners[i].UID] == nil {
			e.dependents[owners[i].UID] = map[ref]struct{}{}
		}
		e.dependents[owners[i].UID][o.ref] = struct{}{}
	}
}

func (e *Engine) unlinkOwners(o *object) {
	for _, w := range o.meta.GetOwnerReferences() {
		delete(e.dependents[w.UID], o.ref)
		if len(e.dependents[w.UID]) == 0 {
			delete(e.dependents, w.UID)
		}
	}
}

// noticed marks the keys that a change of an object concerns; old or o may be nil.
func (e *Engine) noticed(old, o *object) {
	any := o
	if any == nil {
		any = old
	}
	e.markObject(any)
	e.noticedGarbage(old, o)
	e.markBudgets(any)
	e.markQuotas(any.ref)
	if any.ns != "" && e.terminating(any.ns) {
		e.mark(key{area: areaNamespace, name: any.ns})
	}
	switch any.gr {
	case Nodes:
		e.noticedNode(old, o)
		e.markBalancers()
	case Namespaces:
		e.mark(key{area: areaNamespace, name: any.name})
		e.markRefused() // its labels may let pods in
		e.noticedSpace(o, any.name)
	case Services:
		e.noticedService(o, any.ns, any.name)
		e.noticedBalancer(old, o)
		e.noticedAddresses(old, o)
		e.markLeavingRanges()
		e.markIngressesOf(any.ns)
	case Secrets:
		e.markIngressesOf(any.ns)
	case IngressClasses:
		e.markIngresses()
	case EndpointSlices:
		e.noticedSlice(old, o)
	case Budgets:
		e.noticedBudget(o, any.ns, any.name)
	case Autoscalers:
		e.noticedAutoscaler(old, o)
	case ReplicaSets, ReplicationControllers, Jobs, StatefulSets:
		e.noticedWorkload(old, o)
		e.markCronJob(any)
	case DaemonSets:
		e.noticedWorkload(old, o)
		e.noticedDaemonSet(old, o)
	case ControllerRevisions:
		e.noticedRevision(old, o)
	case ConfigMaps, Accounts:
		if o == nil {
			e.mark(key{area: areaNamespace, name: any.ns})
		}
		if any.ref == poolRef {
			e.markBalancers()
		}
		if any.gr == Accounts && old == nil {
			e.markWaiting(any.ns)
		}
	case Claims:
		e.noticedClaim(old, o)
		e.eachEnsemble(any.ns, any.name, e.mark)
		e.noticedStorage(old, o)
	case Volumes:
		e.noticedVolume(old, o)
		e.noticedStorage(old, o)
	case AttributesClasses:
		e.noticedStorage(old, o)
	case StorageClasses:
		e.noticedClass(any.name)
	case ServiceCIDRs:
		e.markRanges()
	case LimitRanges, PriorityClasses, RuntimeClasses:
		e.markRefused()
		e.markAsked()
	case Quotas:
		if gaveBack(old, o) {
			e.markAsked()
		}
	case MutatingHooks, ValidatingHooks, MutatingPolicies, MutatingBindings, ValidatingPolicies, ValidatingBindings:
		e.markAsked()
	}
}

// markWaiting marks the workloads whose pods may have waited for a service account.
func (e *Engine) markWaiting(ns string) {
	for _, gr := range []schema.GroupResource{ReplicaSets, ReplicationControllers, Jobs, StatefulSets, DaemonSets} {
		for _, o := range e.list(ns, gr) {
			e.markObject(o)
		}
	}
}

// markObject marks the controllers that own this kind or its controller's kind.
func (e *Engine) markObject(o *object) {
	switch o.gr {
	case Deployments:
		e.mark(key{area: areaDeployment, ns: o.ns, name: o.name})
	case ReplicaSets:
		e.mark(key{area: areaReplicaSet, ns: o.ns, name: o.name})
		e.markController(o)
	case ReplicationControllers:
		e.mark(key{area: areaReplicationController, ns: o.ns, name: o.name})
	case Jobs:
		e.mark(key{area: areaJob, ns: o.ns, name: o.name})
	case CronJobs:
		e.mark(key{area: areaCronJob, ns: o.ns, name: o.name})
	case StatefulSets, DaemonSets:
		e.mark(key{area: workloadAreas[o.gr], ns: o.ns, name: o.name})
	case Nodes:
		e.mark(key{area: areaNode, name: o.name})
	case Services, Endpoints:
		e.mark(key{area: areaService, ns: o.ns, name: o.name})
	case IPAddresses:
		e.mark(key{area: areaAddress, name: o.name})
	case Migrations:
		e.mark(key{area: areaMigration, name: o.name})
	case Ingresses:
		e.mark(key{area: areaIngress, ns: o.ns, name: o.name})
	}
}

// markController marks the deployment of a ReplicaSet, or every deployment that may adopt it.
func (e *Engine) markController(o *object) {
	if w := metav1.GetControllerOfNoCopy(o.meta); w != nil {
		if w.Kind == "Deployment" {
			e.mark(key{area: areaDeployment, ns: o.ns, name: w.Name})
		}
		return
	}
	for _, d := range e.list(o.ns, Deployments) {
		e.mark(key{area: areaDeployment, ns: d.ns, name: d.name})
	}
}

// failedObject marks what has to decide about the object again.
func (e *Engine) failedObject(r ref, o runtime.Object) {
	k := key{area: areaItem, resource: r.gr.String(), ns: r.ns, name: r.name}
	switch r.gr {
	case Deployments:
		k = key{area: areaDeployment, ns: r.ns, name: r.name}
	case ReplicaSets:
		k = key{area: areaReplicaSet, ns: r.ns, name: r.name}
		if w := metav1.GetControllerOf(mustMeta(o)); w != nil {
			e.retry(key{area: areaDeployment, ns: r.ns, name: w.Name}, e.now)
		}
	case ReplicationControllers:
		k = key{area: areaReplicationController, ns: r.ns, name: r.name}
	case Jobs:
		k = key{area: areaJob, ns: r.ns, name: r.name}
		if w := metav1.GetControllerOf(mustMeta(o)); w != nil {
			e.retry(key{area: areaCronJob, ns: r.ns, name: w.Name}, e.now)
		}
	case CronJobs:
		k = key{area: areaCronJob, ns: r.ns, name: r.name}
	case StatefulSets, DaemonSets:
		k = key{area: workloadAreas[r.gr], ns: r.ns, name: r.name}
	case ControllerRevisions:
		e.failedRevision(mustMeta(o))
	case Nodes:
		k = key{area: areaNode, name: r.name}
		e.giveBackCIDR(o)
		if known := e.objects[r]; known != nil {
			e.setNode(known.obj.(*corev1.Node)) // which was told what did not become true
			e.roomFreed = true
		}
	case Namespaces:
		k = key{area: areaNamespace, name: r.name}
	case Endpoints:
		k = key{area: areaService, ns: r.ns, name: r.name}
	case Services:
		k = balancerKey()
	case IPAddresses:
		k = key{area: areaAddress, name: r.name}
	case Claims:
		k = key{area: areaClaim, ns: r.ns, name: r.name}
		e.failedClaim(mustMeta(o))
		e.retry(protectionKey(r), e.now)
	case Volumes:
		e.retry(protectionKey(r), e.now)
		k = key{area: areaVolume, name: r.name}
		if c, ok := claimOf(o.(*corev1.PersistentVolume)); ok {
			e.retry(key{area: areaClaim, ns: c.Namespace, name: c.Name}, e.now)
		}
	case Ingresses:
		k = key{area: areaIngress, ns: r.ns, name: r.name}
	case EndpointSlices:
		e.failedSlice(r, o)
		return
	case AttributesClasses:
		e.retry(protectionKey(r), e.now)
	case ServiceCIDRs:
		e.retry(key{area: areaRange, name: r.name}, e.now)
	case Budgets:
		k = budgetKey(r.ns, r.name)
	case Migrations:
		e.retry(key{area: areaMigration, name: r.name}, e.now)
	case Events, Autoscalers: // of which the next sample decides again
		return
	case ConfigMaps, Accounts:
		e.retry(key{area: areaNamespace, name: r.ns}, e.now)
	case Pods:
		e.failedPodPut(r)
		return
	}
	e.retry(k, e.now)
	e.retryGarbage(r, mustMeta(o))
}

// controllerOf is the controller's reference of a pod.
func controllerOf(p *corev1.Pod) *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(p) }
