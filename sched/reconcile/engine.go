package reconcile

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched"
)

// Config of an engine. The zero value of every field but Seed turns the thing it is for off.
type Config struct {
	// Seed of UIDs, name suffixes and the scheduler's tie-breaks. A leader takes a fresh one each term.
	Seed uint64
	// ClusterCIDR is cut into one network of NodeMaskBits (default 24, for IPv6 64) a node.
	ClusterCIDR  netip.Prefix
	ClusterCIDR6 netip.Prefix // the same of the other family, in clusters that have both
	NodeMaskBits int
	// RootCA is the PEM that every namespace gets in ConfigMap kube-root-ca.crt.
	RootCA string
	// Strategy is how the scheduler chooses between nodes that fit.
	Strategy sched.Strategy
	// EndedPodsMax is how many pods that have ended are kept; the oldest go first.
	EndedPodsMax int
	// PreparePod is what admission does to a pod that comes through the API, applied to the template
	// of pods that controllers make, with the account that they run as. It must be a pure function of these and of the facts. An error
	// refuses the pod. nil sets the account's name only.
	PreparePod func(p *corev1.Pod, account *corev1.ServiceAccount, facts Facts) error
	// StatusPause is how long the status of a ReplicaSet or Deployment waits after one was written, unless nothing more is to come; zero
	// writes each as soon as it is another one.
	StatusPause time.Duration
	// PodEventsPerSecond is how many events about single pods that come and go are written when there are many for long. Workloads
	// then say how many pods they made. Zero sets no limit.
	PodEventsPerSecond int
	// Breathe, if it is there, is called between two pieces of a step's work, of which a big step has many thousands: whoever waits for
	// the processor may have it then.
	Breathe func()
	// Asked says of a pod that PreparePod has let in whether it must go the way of a client's, as an Ask, because somebody wants to be
	// asked about each. It must be a pure function too. nil asks nobody.
	Asked func(p *corev1.Pod, facts Facts) bool
	// Leases says when what must not run twice has ended on a node that is down or gone. With nil such pods wait for their node.
	Leases Leases
}

// Engine decides. It is not safe for concurrent use.
type Engine struct {
	cfg   Config
	now   time.Time // of the current or last step
	names *generator
	table *sched.Table
	agenda
	model
	output
	storage
	disruption
	autoscaling
	ingressing
	revisions
	balancing
	pace pacing
	asking
	stocks    map[string]map[types.UID]*stock // of quotas, by namespace
	daemons   map[types.UID]*daemon
	pending   pendingPods
	nominated map[types.UID]string              // pending pods for which others were told to go, and from where
	gangs     map[string]map[types.UID]struct{} // their pods that have a node, by namespace and name
	condemned map[types.UID]struct{}            // pods that went for others, while their status may not say so yet
	cidrs     *cidrPool
	cidrs6    *cidrPool // in clusters of two families
	recorder  recorder
	liveness  map[string]liveness
	roomFreed bool // since the last step something changed that may let unplaceable pods fit
	loading   bool // see Load
}

// New makes an engine that knows of nothing yet.
func New(cfg Config) *Engine {
	return &Engine{
		agenda: newAgenda(), model: newModel(), output: newOutput(), storage: newStorage(), disruption: newDisruption(), autoscaling: newAutoscaling(), ingressing: newIngressing(),
		revisions: newRevisions(), balancing: newBalancing(), pace: newPacing(), asking: newAsking(), stocks: map[string]map[types.UID]*stock{}, daemons: map[types.UID]*daemon{},
		cfg: cfg, names: newGenerator(cfg.Seed), table: sched.NewTable(cfg.Seed, cfg.Strategy),
		nominated: map[types.UID]string{}, gangs: map[string]map[types.UID]struct{}{}, condemned: map[types.UID]struct{}{},
		pending: newPendingPods(), cidrs: newCIDRPool(cfg.ClusterCIDR, cfg.NodeMaskBits), cidrs6: newCIDRPool(cfg.ClusterCIDR6, 0),
		recorder: newRecorder(), liveness: map[string]liveness{},
	}
}

// Observe takes in one committed change. Changes come in the order of their revisions; what exists
// when the engine starts was loaded before, or comes first, as changes without an old state, in any order.
func (e *Engine) Observe(c *api.Change) {
	if c.Resource == Pods {
		e.observePod(c.Namespace, c.Name, c.NewPod)
		return
	}
	e.observeObject(c)
}

// Failed tells that a row of an op of the last step did not apply; it is decided again. Every row of
// a proposal that never reached the log is to be reported the same way.
func (e *Engine) Failed(op ops.Op, row int, o ops.Outcome) {
	switch op := op.(type) {
	case *ops.Put:
		if op.Resource == Quotas {
			e.failedQuota(refOf(op.Resource, op.Object))
		}
		e.failedObject(refOf(op.Resource, op.Object), op.Object)
	case *ops.Delete:
		r := ref{op.Resource, op.Namespace, op.Name}
		if op.Resource == Pods {
			e.failedPodPut(r)
		}
		if known := e.objects[r]; known != nil {
			e.failedObject(r, known.obj)
		}
	case *ops.PlanPods:
		e.table.RemovePod(op.Rows[row].UID)
		e.failedPlan(op)
	case *ops.BindPods:
		e.failedBind(&op.Rows[row])
	case *ops.PodStatuses:
		e.failedStatus(&op.Rows[row])
	case *ops.DeletePods:
		e.failedDelete(&op.Rows[row])
	}
}

// Step returns everything that can be decided now, in the order in which it is to be committed.
// next is the time at which there may be more to do although nothing was observed; zero is never.
func (e *Engine) Step(now time.Time) (out []ops.Op, next time.Time) {
	e.now = now
	e.begin()
	e.fire(now)
	e.run(areaNamespace, e.syncNamespace)
	e.run(areaNode, e.syncNode)
	e.run(areaEviction, e.syncEviction)
	e.run(areaEnded, e.syncEnded)
	e.run(areaItem, e.syncItem)
	e.run(areaOwner, e.syncOwner)
	e.run(areaAutoscaler, e.syncAutoscaler)
	e.run(areaDeployment, e.syncDeployment)
	e.run(areaReplicaSet, e.syncReplicaSet)
	e.run(areaReplicationController, e.syncReplicationController)
	e.run(areaCronJob, e.syncCronJob)
	e.run(areaJob, e.syncJob)
	e.run(areaTracked, e.syncTracked)
	e.run(areaStatefulSet, e.syncStatefulSet)
	e.run(areaBerth, e.syncBerth)
	e.run(areaDaemonSet, e.syncDaemonSet)
	e.run(areaEphemeral, e.syncEphemeral)
	e.run(areaVolume, e.syncVolume)
	e.run(areaClaim, e.syncClaim)
	e.schedule()
	e.run(areaService, e.syncService)
	e.run(areaBalancer, e.syncBalancers)
	e.run(areaAddress, e.syncAddress)
	e.run(areaProtection, e.syncProtection)
	e.run(areaRange, e.syncRange)
	e.run(areaMigration, e.syncMigration)
	e.run(areaBudget, e.syncBudget)
	e.run(areaIngress, e.syncIngress)
	e.run(areaQuota, e.syncQuotas)
	return e.flush(now), e.agenda.next()
}

func (e *Engine) run(a area, sync func(key)) {
	for _, k := range e.take(a) {
		sync(k)
		e.breathe()
	}
}

func (e *Engine) breathe() {
	if e.cfg.Breathe != nil {
		e.cfg.Breathe()
	}
}

// Resources that the engine speaks of.
var (
	Pods                   = core("pods")
	Nodes                  = core("nodes")
	Namespaces             = core("namespaces")
	Services               = core("services")
	Endpoints              = core("endpoints")
	ConfigMaps             = core("configmaps")
	Accounts               = core("serviceaccounts")
	Events                 = core("events")
	ReplicationControllers = core("replicationcontrollers")
	ReplicaSets            = schema.GroupResource{Group: "apps", Resource: "replicasets"}
	Deployments            = schema.GroupResource{Group: "apps", Resource: "deployments"}
	CronJobs               = schema.GroupResource{Group: "batch", Resource: "cronjobs"}
	StatefulSets           = schema.GroupResource{Group: "apps", Resource: "statefulsets"}
	DaemonSets             = schema.GroupResource{Group: "apps", Resource: "daemonsets"}
	ControllerRevisions    = schema.GroupResource{Group: "apps", Resource: "controllerrevisions"}
	Jobs                   = schema.GroupResource{Group: "batch", Resource: "jobs"}
	EndpointSlices         = schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	IPAddresses            = schema.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"}
	ServiceCIDRs           = schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}
	Migrations             = schema.GroupResource{Group: "storagemigration.k8s.io", Resource: "storageversionmigrations"}
	AttributesClasses      = schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattributesclasses"}

	Claims         = core("persistentvolumeclaims")
	Volumes        = core("persistentvolumes")
	StorageClasses = schema.GroupResource{Group: "storage.k8s.io", Resource: "storageclasses"}

	// Resources that admission reads.
	LimitRanges     = core("limitranges")
	PriorityClasses = schema.GroupResource{Group: "scheduling.k8s.io", Resource: "priorityclasses"}
	RuntimeClasses  = schema.GroupResource{Group: "node.k8s.io", Resource: "runtimeclasses"}
)

// Resources by which somebody wants to be asked about pods.
var (
	Quotas             = core("resourcequotas")
	MutatingHooks      = registration("mutatingwebhookconfigurations")
	ValidatingHooks    = registration("validatingwebhookconfigurations")
	MutatingPolicies   = registration("mutatingadmissionpolicies")
	MutatingBindings   = registration("mutatingadmissionpolicybindings")
	ValidatingPolicies = registration("validatingadmissionpolicies")
	ValidatingBindings = registration("validatingadmissionpolicybindings")
)

func registration(resource string) schema.GroupResource {
	return schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: resource}
}

func core(resource string) schema.GroupResource { return schema.GroupResource{Resource: resource} }

// uidKey is the key of an owner in the garbage collector.
func uidKey(uid types.UID) key { return key{area: areaOwner, name: string(uid)} }
