package ops

import (
	"errors"

	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Op is one change to one object or to a family of equal ones. Ops of one proposal are applied in
// order; each row of an op succeeds or fails by itself.
type Op interface{ op() }

// Preconditions on an object's revision.
const (
	// Absent: the object must not exist.
	Absent uint64 = 0
	// Any: whatever the revision is; a Put creates the object if it is not there.
	Any uint64 = math.MaxUint64
	// Exists: some revision; the object must be there.
	Exists uint64 = math.MaxUint64 - 1
)

// Put creates or replaces one object, whole. Object carries namespace, name, UID and times.
// For pods it is the way of single pods and of every change that the pod ops below cannot say.
type Put struct {
	Resource schema.GroupResource
	Object   runtime.Object
	Expect   uint64 // a revision, Absent, Any or Exists
}

// Delete removes one object now (graceful deletion of pods is DeletePods).
type Delete struct {
	Resource        schema.GroupResource
	Namespace, Name string
	UID             types.UID // "" is any
	Expect          uint64    // a revision or Exists (also Any)
}

// PlanPods creates many pods of one template, already placed. Template is a pod without the fields
// that are a pod's own (api.NewPodTemplate); rows name the pods. A row whose name is taken fails alone.
type PlanPods struct {
	Template *corev1.Pod
	Created  int64 // seconds since 1970
	Rows     []PlanRow
}

// PlanRow is one pod of a plan. Suffix follows Template.GenerateName. Node "" leaves it unscheduled.
type PlanRow struct {
	Suffix string
	UID    types.UID
	Node   string
}

// BindPods gives unscheduled pods their node. A row fails if the pod is gone, another one, deleting or bound.
// Bound adds condition PodScheduled=True at time Now.
type BindPods struct {
	Now  int64 // seconds since 1970
	Rows []BindRow
}

// BindRow is one binding.
type BindRow struct {
	Namespace, Name string
	UID             types.UID
	Node            string
}

// PodStatuses replaces the status of pods. A row fails if the pod is gone or another one, if
// Expect is not zero and is not its revision, or if it would take the pod out of a terminal phase.
type PodStatuses struct{ Rows []StatusRow }

// StatusRow is one pod's new status.
type StatusRow struct {
	Namespace, Name string
	UID             types.UID
	Expect          uint64 // 0 is any
	Status          []byte // protobuf corev1.PodStatus
}

// DeletePods starts the graceful deletion of pods: it sets deletionTimestamp to Now+Grace, or
// shortens it. A pod without a node, one that is terminal, or one with Grace 0 goes at once,
// unless it has finalizers.
type DeletePods struct {
	Now  int64 // seconds since 1970
	Rows []DeleteRow
}

// DeleteRow is one pod. Grace is in seconds; -1 takes the pod's own terminationGracePeriodSeconds.
type DeleteRow struct {
	Namespace, Name string
	UID             types.UID
	Grace           int64
}

// PutMeta sets one entry of the cluster's own small table (CA, gossip key, join tokens):
// never shown by the API. Value nil removes it. IfAbsent makes it fail when the key exists.
type PutMeta struct {
	Key      string
	Value    []byte
	IfAbsent bool
}

func (*Put) op()         {}
func (*Delete) op()      {}
func (*PlanPods) op()    {}
func (*BindPods) op()    {}
func (*PodStatuses) op() {}
func (*DeletePods) op()  {}
func (*PutMeta) op()     {}

// ErrRefused says that ops will never be taken as they are, so that to propose them again is useless: who proposed them may not, or they
// make no sense, or are too large together.
var ErrRefused = errors.New("refused")

// Outcome is what became of an op or of one row of it.
type Outcome uint8

// Outcomes. Only Applied changed anything.
const (
	Applied  Outcome = iota
	Conflict         // the revision or UID is another one
	Found            // it exists already (Expect was Absent, or the name is taken)
	NotFound
	Taken   // a unique value (cluster IP, node port) belongs to another object
	Invalid // the op cannot be decoded or makes no sense
)

// Result of one op: Rows has one outcome a row; ops of one object have one row. Revision is the
// revision that the last applied row got; 0 if none was applied.
type Result struct {
	Revision uint64
	Rows     []Outcome
	Detail   string // for a person, if something failed
}

// OK says whether every row was applied.
func (r *Result) OK() bool {
	for _, o := range r.Rows {
		if o != Applied {
			return false
		}
	}
	return true
}
