package reconcile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
)

// revisions is what the controllers of StatefulSets and DaemonSets keep of the templates that their pods have had.
type revisions struct {
	// loose are the ControllerRevisions without a controller, which may be adopted.
	loose map[ref]struct{}
	// patches are what a workload's template is as the data of a revision, since it takes long to encode.
	patches map[types.UID]patch
}

// patch is the data of the revision of a workload's template as of a generation.
type patch struct {
	generation int64
	data       []byte
}

func newRevisions() revisions {
	return revisions{loose: map[ref]struct{}{}, patches: map[types.UID]patch{}}
}

// chronicle is the history of one workload's template. Kubectl shows it and goes back in it, so names, labels and data are those that
// it expects.
type chronicle struct {
	e *Engine
	w workload
	// hashLabel is the label in which a revision has the hash that its name ends with.
	hashLabel string
	list      []*object // oldest first
}

func asRevision(o *object) *appsv1.ControllerRevision { return o.obj.(*appsv1.ControllerRevision) }

// chronicle gathers the revisions that the workload owns. It is nil if some are being adopted: then their changes come back here.
func (e *Engine) chronicle(w workload, selector labels.Selector, hashLabel string) *chronicle {
	if e.adoptRevisions(w, selector) {
		return nil
	}
	c := &chronicle{e: e, w: w, hashLabel: hashLabel}
	for r := range e.dependents[w.obj.GetUID()] {
		if r.gr == ControllerRevisions && metav1.IsControlledBy(e.objects[r].meta, w.obj) {
			c.list = append(c.list, e.objects[r])
		}
	}
	slices.SortFunc(c.list, func(a, b *object) int {
		return cmp.Or(cmp.Compare(asRevision(a).Revision, asRevision(b).Revision),
			a.meta.GetCreationTimestamp().Compare(b.meta.GetCreationTimestamp().Time), strings.Compare(a.name, b.name))
	})
	return c
}

// adoptRevisions takes the orphans that the selector matches. It reports whether there were any.
func (e *Engine) adoptRevisions(w workload, selector labels.Selector) (acted bool) {
	if len(e.loose) == 0 {
		return false
	}
	for _, r := range slices.SortedFunc(maps.Keys(e.loose), compareRefs) {
		o := e.objects[r]
		if r.ns == w.ns && o.meta.GetDeletionTimestamp() == nil && selector.Matches(labels.Set(o.meta.GetLabels())) {
			e.setOwners(o, append(slices.Clone(o.meta.GetOwnerReferences()), *metav1.NewControllerRef(w.obj, w.gvk)))
			acted = true
		}
	}
	return acted
}

// present is the revision of today's template: the newest with the same data, which becomes the last of the history again, or a new one.
// It is nil if somebody else has just written the revision. Fresh says that it is being made in this step.
func (c *chronicle) present(t *corev1.PodTemplateSpec, collisions **int32) (r *appsv1.ControllerRevision, fresh bool) {
	data := c.e.templatePatch(c.w.obj, t)
	for _, o := range slices.Backward(c.list) {
		if !bytes.Equal(asRevision(o).Data.Raw, data) {
			continue
		}
		if c.e.written[o.ref] {
			return nil, false
		}
		r := *asRevision(o)
		if last := c.last(); r.Revision < last {
			r.Revision = last + 1
			c.e.put(ControllerRevisions, &r, o.rev)
		}
		return &r, false
	}
	return c.add(data, t, collisions), true
}

// last is the highest number of the history; 0 if there is none.
func (c *chronicle) last() int64 {
	if len(c.list) == 0 {
		return 0
	}
	return asRevision(c.list[len(c.list)-1]).Revision
}

// add makes a revision. If its name belongs to another one, the collision count, which is part of the hash, is raised.
func (c *chronicle) add(data []byte, t *corev1.PodTemplateSpec, collisions **int32) *appsv1.ControllerRevision {
	hash := revisionHash(data, *collisions)
	for c.e.object(ControllerRevisions, c.w.ns, c.w.name+"-"+hash) != nil {
		n := replicasOrZero(*collisions) + 1
		*collisions = &n
		hash = revisionHash(data, *collisions)
	}
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: c.w.name + "-" + hash, Namespace: c.w.ns, Labels: maps.Clone(t.Labels), Annotations: maps.Clone(c.w.obj.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c.w.obj, c.w.gvk)},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: c.last() + 1,
	}
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	r.Labels[c.hashLabel] = hash
	c.e.stamp(&r.ObjectMeta)
	r.Generation = 0
	c.e.put(ControllerRevisions, r, 0)
	return r
}

func revisionHash(data []byte, collisions *int32) string {
	h := fnv.New32a()
	h.Write(data)
	if n := replicasOrZero(collisions); n > 0 {
		fmt.Fprintf(h, "%d", n)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// truncate deletes the oldest revisions beyond the limit that nothing lives by.
func (c *chronicle) truncate(limit *int32, live map[string]bool) {
	most := 10
	if limit != nil {
		most = int(*limit)
	}
	var idle []*object
	for _, o := range c.list {
		if !live[o.name] && !c.e.written[o.ref] {
			idle = append(idle, o)
		}
	}
	if most < 0 || len(idle) <= most {
		return
	}
	for _, o := range idle[:len(idle)-most] {
		c.e.remove(o)
	}
}

// find is the revision of the name; nil if the history has none.
func (c *chronicle) find(name string) *appsv1.ControllerRevision {
	for _, o := range c.list {
		if o.name == name {
			return asRevision(o)
		}
	}
	return nil
}

// templatePatch is the workload's template as a revision's data: a strategic merge patch that puts it in place of any other.
func (e *Engine) templatePatch(o metav1.Object, t *corev1.PodTemplateSpec) []byte {
	if known, ok := e.patches[o.GetUID()]; ok && known.generation == o.GetGeneration() {
		return known.data
	}
	data, err := encodePatch(t)
	if err != nil {
		panic("reconcile: a template that came from the store does not encode: " + err.Error())
	}
	e.patches[o.GetUID()] = patch{o.GetGeneration(), data}
	return data
}

// encodePatch goes by way of a map, as kubectl does, since kubectl compares bytes to see whether there is anything to undo.
func encodePatch(t *corev1.PodTemplateSpec) ([]byte, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	var template map[string]any
	if err := json.Unmarshal(b, &template); err != nil {
		return nil, err
	}
	template["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
}

// templateIn reads the template out of a revision; nil if there is none in it.
func templateIn(r *appsv1.ControllerRevision) *corev1.PodTemplateSpec {
	var of struct {
		Spec struct {
			Template *corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if json.Unmarshal(r.Data.Raw, &of) != nil {
		return nil
	}
	return of.Spec.Template
}

// noticedRevision keeps the orphans, and marks whose history a revision is or may become.
func (e *Engine) noticedRevision(old, o *object) {
	if o == nil {
		delete(e.loose, old.ref)
		e.markChronicler(old)
		return
	}
	delete(e.loose, o.ref)
	if metav1.GetControllerOfNoCopy(o.meta) == nil {
		e.loose[o.ref] = struct{}{}
	}
	e.markChronicler(o)
}

func (e *Engine) markChronicler(o *object) {
	if w := metav1.GetControllerOfNoCopy(o.meta); w != nil {
		if r, there := e.exists(w.UID); there && (r.gr == StatefulSets || r.gr == DaemonSets) {
			e.mark(key{area: workloadAreas[r.gr], ns: r.ns, name: r.name})
		}
		return
	}
	if s := e.spaces[o.ns]; s != nil {
		for _, list := range []map[string]*object{s.objects[StatefulSets], s.objects[DaemonSets]} {
			for _, w := range list {
				e.markObject(w)
			}
		}
	}
}

// failedRevision lets the workload of a revision decide again.
func (e *Engine) failedRevision(m metav1.Object) {
	if w := metav1.GetControllerOfNoCopy(m); w != nil {
		if r, there := e.exists(w.UID); there && workloadAreas[r.gr] != 0 {
			e.retry(key{area: workloadAreas[r.gr], ns: r.ns, name: r.name}, e.now)
		}
	}
}
