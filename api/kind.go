package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Kind is everything that Peapod knows about one built-in resource. Function fields may be nil,
// which means that the generic behaviour is right for the kind.
type Kind struct {
	GroupVersion schema.GroupVersion
	Name         string // the kind, "ReplicaSet"
	Resource     string // the plural, "replicasets"
	Singular     string
	ShortNames   []string
	Categories   []string
	// ClusterScoped kinds have no namespace.
	ClusterScoped bool

	New     func() runtime.Object
	NewList func() runtime.Object

	// Default fills in, in place, what the API reference says an absent field means. It is called
	// on every decode, so it must be idempotent.
	Default func(obj runtime.Object)
	// Restore fills in, in place, what every object of the kind has and its protobuf form has no room for: an object comes out of
	// the store as it went in.
	Restore func(obj runtime.Object)
	// PrepareForCreate and the two after it clear or keep fields that the caller may not write.
	// The generic strategy has already wiped status on create, kept status on update, kept
	// everything but status (and metadata) on a status update, and counted the generation.
	PrepareForCreate       func(obj runtime.Object)
	PrepareForUpdate       func(obj, old runtime.Object)
	PrepareForStatusUpdate func(obj, old runtime.Object)
	// Validate reports every fault of a new object (metadata is already checked generically).
	Validate             func(obj runtime.Object) field.ErrorList
	ValidateUpdate       func(obj, old runtime.Object) field.ErrorList
	ValidateStatusUpdate func(obj, old runtime.Object) field.ErrorList
	// ValidateName checks metadata.name; nil means a DNS-1123 subdomain.
	ValidateName func(name string, prefix bool) []string
	// Warnings are shown to the user as "Warning:" lines; old is nil on create.
	Warnings func(obj, old runtime.Object) []string
	// NotActedOn warns whoever creates an object that the cluster keeps for others to read, and that has no effect in it.
	NotActedOn string

	// Columns and Row make the table that kubectl shows; Row has one cell a column.
	Columns []metav1.TableColumnDefinition
	Row     func(obj runtime.Object, now time.Time) []any

	// FieldLabels are the selectable fields beside metadata.name and metadata.namespace, and
	// Fields gives their values (without those two).
	FieldLabels []string
	Fields      func(obj runtime.Object) fields.Set

	// HasStatus serves /status; HasGeneration counts metadata.generation on changes of the spec.
	HasStatus     bool
	HasGeneration bool
	// KeepStatusOnCreate tells the generic strategy not to wipe the status that a creator brings
	// (a node's agent registers the node with its status).
	KeepStatusOnCreate bool
	// Scale serves /scale.
	Scale *ScaleAccess
	// TTLSeconds is how long an object lives after its last write; 0 is for ever.
	TTLSeconds uint64
	// CreateOnUpdate lets PUT create (leases, events and their like in Kubernetes do).
	CreateOnUpdate bool
	// ConditionalUpdate refuses a PUT without resourceVersion.
	ConditionalUpdate bool
	// OrphanByDefault keeps dependents when no propagation policy is given.
	OrphanByDefault bool
	// Forms are the other versions or groups that serve the same objects.
	Forms []Form
}

// Form is one more version of a kind, or the kind in one more group. Its objects are stored, validated and shown as those of the
// kind itself, the hub.
type Form struct {
	GroupVersion schema.GroupVersion
	New          func() runtime.Object
	NewList      func() runtime.Object
	// Default fills in, in place, what an absent field of this form means, where the hub's Default cannot. It may be nil.
	Default func(obj runtime.Object)
	// ToHub and FromHub fill in the second object from the first, which may share memory with it afterwards. What the other
	// side has no field for travels in annotations or is lost, as the API reference says. Neither touches TypeMeta.
	ToHub   func(form, hub runtime.Object) error
	FromHub func(hub, form runtime.Object) error
	// FieldLabels is Kind.FieldLabels under this form; nil means the same.
	FieldLabels []string
	// HubLabels gives the hub's name for those of FieldLabels that are called otherwise there.
	HubLabels map[string]string
	// Validate and ValidateUpdate check what is written in this form, in place of the kind's own rules; they see the hub's objects,
	// and name fields as the hub does. They may be nil, which means the kind's own rules.
	Validate       func(hub runtime.Object) field.ErrorList
	ValidateUpdate func(hub, old runtime.Object) field.ErrorList
}

// ScaleAccess reads and writes the replica count behind the scale subresource (autoscaling/v1).
type ScaleAccess struct {
	Get func(obj runtime.Object) (spec, status int32, selector string)
	Set func(obj runtime.Object, replicas int32)
	// Fault says why an object has no count; nil if every object of the kind has one.
	Fault func(obj runtime.Object) error
}

// Check says whether an object has a count that can be read.
func (a *ScaleAccess) Check(obj runtime.Object) error {
	if a.Fault == nil {
		return nil
	}
	return a.Fault(obj)
}

// GroupResource is the kind's key in the store.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.GroupVersion.Group, Resource: k.Resource}
}

// GroupVersionKind is the kind's name on the wire.
func (k *Kind) GroupVersionKind() schema.GroupVersionKind { return k.GroupVersion.WithKind(k.Name) }

var kinds = map[schema.GroupResource]*Kind{}

// Register adds a kind to the table and to the Scheme; called from init functions only.
func Register(k *Kind) {
	gr := k.GroupResource()
	if kinds[gr] != nil {
		panic(fmt.Sprintf("api: kind %s registered twice", gr))
	}
	kinds[gr] = k
	addToScheme(k)
}

// Kinds lists the table in a fixed order: core first, then by group and resource.
func Kinds() []*Kind {
	out := make([]*Kind, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *Kind) int {
		if c := strings.Compare(a.GroupVersion.Group, b.GroupVersion.Group); c != 0 {
			return c
		}
		return strings.Compare(a.Resource, b.Resource)
	})
	return out
}

// KindFor finds a kind by its resource; nil if there is none.
func KindFor(gr schema.GroupResource) *Kind { return kinds[gr] }
