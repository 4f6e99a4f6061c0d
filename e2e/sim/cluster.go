package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/liveness"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

var clusterCIDR = netip.MustParsePrefix("10.42.0.0/16")

// Options of a run. The switches break the design on purpose: the checks must find each.
type Options struct {
	Times fence.Times
	// DriftParts bounds the clocks' rates: one part in so many.
	DriftParts int64
	// Story tells what happens.
	Story bool

	Unread      bool // agents do not read whether a pod is still theirs
	Ungated     bool // supervisors do not look at the lease when a program begins
	Unconfirmed bool // leaders grant leases without asking the others
}

// Default is the design as it is.
func Default() Options {
	t := fence.Default()
	return Options{Times: t, DriftParts: t.DriftParts}
}

// cluster is three servers, four nodes and what runs on them.
type cluster struct {
	w       *world
	seed    uint64
	options Options
	net     *network
	servers []*server
	nodes   []*node

	objects map[string]runtime.Object // claims and volumes
	log     []entry                   // what is committed, by whoever came first
	bound   map[types.UID]string
	silent  map[string]time.Duration // since when gossip misses a node
	// Moved counts replacements of single writers, Overslept their moments on machines that stood past their lease.
	moved, overslept int
}

// Writers are the ReplicaSets of one pod with a claim of one writer; the others are in Web.
const (
	writers = 2
	web     = 3
)

// New builds the cluster of a seed.
func newCluster(seed uint64, o Options) *cluster {
	w := &world{rng: rand.New(rand.NewPCG(seed, 17))}
	if o.Story {
		w.story = &strings.Builder{}
	}
	c := &cluster{w: w, seed: seed << 8, options: o, objects: map[string]runtime.Object{}, bound: map[types.UID]string{}, silent: map[string]time.Duration{}}
	c.net = &network{w: w, cut: map[link]bool{}}
	first := c.furnish()
	for i := range 3 {
		s := &server{c: c, process: process{w: w, name: fmt.Sprintf("s%d", i+1)}}
		s.machine = c.machineOf(s.name)
		s.diskMin, s.diskMax = 100*time.Microsecond, 3*time.Millisecond
		s.log = []entry{{0, first}}
		c.servers = append(c.servers, s)
	}
	for i := range 4 {
		n := &node{c: c, machine: *c.machineOf(fmt.Sprintf("n%d", i+1))}
		n.process = process{w: w, name: n.machine.name, machine: &n.machine}
		n.visor = process{w: w, name: n.machine.name, machine: &n.machine}
		c.nodes = append(c.nodes, n)
	}
	for _, s := range c.servers {
		s.boot()
	}
	for _, n := range c.nodes {
		n.power()
	}
	return c
}

func (c *cluster) machineOf(name string) *machine {
	drift := (2*c.w.rng.Float64() - 1) / float64(c.options.DriftParts)
	return &machine{name: name, rate: 1 + drift}
}

func (c *cluster) node(name string) *node { return c.nodes[name[1]-'1'] }

// furnish is the first entry of every log: nodes, claims with their volumes, and who makes pods.
func (c *cluster) furnish() []byte {
	var list []ops.Op
	put := func(gr schema.GroupResource, o runtime.Object) {
		m := o.(metav1.Object)
		m.SetUID(types.UID("uid-" + m.GetName()))
		list = append(list, &ops.Put{Resource: gr, Object: o, Expect: ops.Absent})
	}
	put(reconcile.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
	for i := range 4 {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i+1), Annotations: map[string]string{api.NodeFencesAnnotation: "true"}}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
		put(reconcile.Nodes, n)
	}
	for i := range writers {
		name := fmt.Sprintf("db%d", i)
		claim, volume := storageOf(name)
		c.objects["claim/"+name], c.objects["volume/"+name] = claim.DeepCopy(), volume.DeepCopy()
		put(reconcile.Claims, claim)
		put(reconcile.Volumes, volume)
		put(reconcile.ReplicaSets, replicaSet(name, 1, name))
	}
	put(reconcile.ReplicaSets, replicaSet("web", web, ""))
	b, err := ops.Encode(list)
	if err != nil {
		panic(err)
	}
	return b
}

func storageOf(name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	none, size := "", corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	once := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: once, StorageClassName: &none, VolumeName: name, Resources: corev1.VolumeResourceRequirements{Requests: size}}}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{AccessModes: once, Capacity: size,
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/shared"}}}}
	return claim, volume
}

func replicaSet(name string, replicas int32, claim string) *appsv1.ReplicaSet {
	labels := map[string]string{"app": name}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	if claim != "" {
		spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
	}
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 1}, Spec: appsv1.ReplicaSetSpec{Replicas: &replicas,
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}}}
}

// Claim implements api.Storage.
func (c *cluster) Claim(_, name string) (*corev1.PersistentVolumeClaim, error) {
	o, _ := c.objects["claim/"+name].(*corev1.PersistentVolumeClaim)
	return o, nil
}

// Volume implements api.Storage.
func (c *cluster) Volume(name string) (*corev1.PersistentVolume, error) {
	o, _ := c.objects["volume/"+name].(*corev1.PersistentVolume)
	return o, nil
}

// identity is what may run once only: the set that the pod is of; "" if there may be many.
func (c *cluster) identity(p *api.PodRecord) string {
	if r, _ := api.ReplacementOf(p.Template.Pod, c); r != api.MovesFenced {
		return ""
	}
	return p.Controller().Name
}

func (c *cluster) label(uid, identity string) string {
	if identity == "" {
		identity = "web"
	}
	return identity + "/" + uid[max(0, len(uid)-4):]
}

// gossip is what members say of a node: most of the machines must miss it.
func (c *cluster) gossip(by *server, name string) liveness.State {
	n := c.node(name)
	missed := 0
	for _, s := range c.servers {
		if !c.net.reaches(s.machine, &n.machine) {
			missed++
		}
	}
	if n.up && !n.stopped && !n.machine.stands && missed < 2 {
		delete(c.silent, name)
		if c.w.chance(2) {
			return liveness.Suspect // members err
		}
		return liveness.Alive
	}
	if _, ok := c.silent[name]; !ok {
		c.silent[name] = c.w.now
	}
	switch since := c.w.now - c.silent[name]; {
	case since < 300*time.Millisecond:
		return liveness.Alive
	case since < 1300*time.Millisecond:
		return liveness.Suspect
	}
	return liveness.Dead
}

// applied checks what a server has applied against what others have, and the changes when they are new.
func (c *cluster) applied(index int, e entry, changes []*api.Change) {
	if index <= len(c.log) {
		if was := c.log[index-1]; was.term != e.term || string(was.data) != string(e.data) {
			c.w.fail("one log", "entry %d is another one here", index)
		}
		return
	}
	c.log = append(c.log, e)
	for _, x := range changes {
		c.checkBound(x)
	}
}

// checkBound: no pod changes its node.
func (c *cluster) checkBound(x *api.Change) {
	switch p := x.NewPod; {
	case x.Resource != reconcile.Pods:
	case p == nil:
		if c.identity(x.OldPod) != "" {
			c.moved++
			c.w.tell("log", "✗", c.label(string(x.OldPod.UID), c.identity(x.OldPod)), "on", x.OldPod.Node)
		}
	case p.Node != "":
		if was, ok := c.bound[p.UID]; ok && was != p.Node {
			c.w.fail("bound once", "pod %s was on %s and is on %s", p.Name, was, p.Node)
		}
		c.bound[p.UID] = p.Node
	}
}

// checkWriters: of no identity do two programs run. A machine that stands runs none.
func (c *cluster) checkWriters() {
	runs := map[string]string{}
	for _, n := range c.nodes {
		if n.machine.stands {
			continue
		}
		for _, uid := range slices.Sorted(maps.Keys(n.programs)) {
			switch p := n.programs[uid]; {
			case p.identity == "":
			case p.overslept:
				c.overslept++
			case runs[p.identity] != "":
				c.w.fail("at most once", "%s runs on %s and on %s", p.identity, runs[p.identity], n.name)
			default:
				runs[p.identity] = n.name
			}
		}
	}
}
