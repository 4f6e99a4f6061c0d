package api

import (
	"strconv"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/podstatus"
)

// PodTemplate is what the pods of one stamp share: namespace, labels, annotations, owners,
// generateName, managed fields and spec. It holds no name, UID, node, time, revision or status.
// It is immutable; whoever reads Pod must not change it.
type PodTemplate struct {
	Pod *corev1.Pod
	// Encoded is the protobuf encoding of Pod.
	Encoded []byte

	requests     sync.Once
	requestsMemo any
}

// NewPodTemplate strips what is a pod's own off p, which it takes over.
func NewPodTemplate(p *corev1.Pod) (*PodTemplate, error) {
	p.Name, p.UID, p.ResourceVersion, p.Spec.NodeName = "", "", "", ""
	p.CreationTimestamp, p.DeletionTimestamp, p.DeletionGracePeriodSeconds = metav1.Time{}, nil, nil
	p.Status = corev1.PodStatus{}
	p.TypeMeta = metav1.TypeMeta{}
	b, err := p.Marshal()
	if err != nil {
		return nil, err
	}
	return &PodTemplate{Pod: p, Encoded: b}, nil
}

// Memo computes a value once a template, for users that derive something costly from the spec
// (the scheduler's requests). There is one memo a template.
func (t *PodTemplate) Memo(compute func(*corev1.Pod) any) any {
	t.requests.Do(func() { t.requestsMemo = compute(t.Pod) })
	return t.requestsMemo
}

// PodRecord is one pod as the store holds it: a shared template and what is the pod's own.
// It is immutable once committed.
type PodRecord struct {
	Template *PodTemplate
	Name     string
	UID      types.UID
	Node     string // spec.nodeName; "" is unscheduled
	Revision uint64
	Created  int64 // seconds since 1970
	// Generation is metadata.generation.
	Generation int64
	// DeletionTime is seconds since 1970 of metadata.deletionTimestamp; 0 means not deleting.
	DeletionTime  int64
	DeletionGrace int64 // seconds, valid if DeletionTime != 0
	Status        podstatus.Status
}

// Namespace is the pod's namespace.
func (r *PodRecord) Namespace() string { return r.Template.Pod.Namespace }

// Labels are shared with the template: read only.
func (r *PodRecord) Labels() map[string]string { return r.Template.Pod.Labels }

// Spec is the shared spec, without the node name: read only.
func (r *PodRecord) Spec() *corev1.PodSpec { return &r.Template.Pod.Spec }

// Deleting says whether the pod has a deletion timestamp.
func (r *PodRecord) Deleting() bool { return r.DeletionTime != 0 }

// Phase of the pod; never "": an empty phase reads as Pending.
func (r *PodRecord) Phase() corev1.PodPhase { return r.Status.Phase() }

// Terminal says whether the pod has ended for good (phase Succeeded or Failed).
func (r *PodRecord) Terminal() bool {
	phase := r.Phase()
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// Controller is the owner reference with controller=true; nil if there is none.
func (r *PodRecord) Controller() *metav1.OwnerReference {
	return metav1.GetControllerOfNoCopy(r.Template.Pod)
}

// Pod makes the typed pod. The result shares the template's spec and metadata maps: read only, but
// its top-level fields, ObjectMeta scalars and Status are the caller's own.
func (r *PodRecord) Pod() *corev1.Pod {
	p := *r.Template.Pod
	p.Name, p.UID, p.Spec.NodeName = r.Name, r.UID, r.Node
	if r.Template.pinsToOwn() {
		PinTo(&p.Spec, r.Node)
	}
	p.ResourceVersion = strconv.FormatUint(r.Revision, 10)
	p.CreationTimestamp = metav1.Unix(r.Created, 0)
	p.Generation = r.Generation
	if r.DeletionTime != 0 {
		t, g := metav1.Unix(r.DeletionTime, 0), r.DeletionGrace
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &t, &g
	}
	p.Status = r.DecodeStatus()
	return &p
}

// DecodeStatus makes the typed status; a pod without one is Pending.
func (r *PodRecord) DecodeStatus() corev1.PodStatus { return r.Status.Decode() }

// SetStatus stores an encoded status, of which it keeps nothing.
func (r *PodRecord) SetStatus(encoded []byte) (err error) {
	r.Status, err = podstatus.Compact(encoded)
	return err
}

// Change is one committed change of one object. A pod comes as a record (OldPod, NewPod), every
// other kind as an object (Old, New); what was absent before or is absent after is nil.
// The objects are the store's own: read only.
type Change struct {
	Revision        uint64
	Resource        schema.GroupResource
	Namespace, Name string
	Old, New        runtime.Object
	OldPod, NewPod  *PodRecord

	shared atomic.Pointer[sync.Map]
}

// Shared is a place for what the change's watchers need only compute once: the typed pod, one
// encoding a media type. It is made when first asked for and lives as long as the change.
func (c *Change) Shared() *sync.Map {
	if m := c.shared.Load(); m != nil {
		return m
	}
	c.shared.CompareAndSwap(nil, new(sync.Map))
	return c.shared.Load()
}

// Deleted says whether the change removed the object.
func (c *Change) Deleted() bool { return c.New == nil && c.NewPod == nil }
