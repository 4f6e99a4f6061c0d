package fieldset

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Plan knows a type's fields in the order of their names, and how each is owned.
type Plan struct {
	root  *node
	reset []*value.FieldCacheEntry // top-level fields that are expected to be empty
}

// shape is how a value is owned.
type shape int

const (
	unknown    shape = iota // the library must be asked
	leaf                    // as a whole: scalars, and what is atomic
	record                  // each field of a struct by itself
	dictionary              // each entry of a map by itself
	keyed                   // each item of a list by itself, named by some of its fields
	set                     // each string of a list by itself
)

// node is a type with a schema.
type node struct {
	shape  shape
	ref    bool // a pointer
	fields []field
	item   *node                    // of a dictionary or a list
	keys   []*value.FieldCacheEntry // of a keyed list's items, by name
}

// field is one of a record.
type field struct {
	name  string // in quotes, as in the encoding
	entry *value.FieldCacheEntry
	node  *node
	// kept tells of a field that an empty record shows too: its owner is who gave it a value, not who made it.
	kept bool
}

// unowned are the fields of metadata that are the server's, by apimachinery's rules of managed fields.
var unowned = []string{"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion"}

// For makes the plan of a kind: a struct with its schema. What is below the top-level fields named in reset is nobody's; an object that has
// something there is left to the library, which refuses some of it.
func For(t reflect.Type, s *schema.Schema, ref schema.TypeRef, reset ...string) *Plan {
	c := compiler{s, map[compiled]*node{}}
	root, p := *c.node(t, ref), &Plan{}
	p.root = &root
	for _, f := range root.fields {
		if slices.Contains(reset, f.entry.JsonName) {
			p.reset = append(p.reset, f.entry)
		}
	}
	root.fields = slices.DeleteFunc(slices.Clone(root.fields), func(f field) bool {
		return slices.Contains(reset, f.entry.JsonName) || f.entry.JsonName == "apiVersion" || f.entry.JsonName == "kind"
	})
	for i, f := range root.fields {
		if f.entry.JsonName == "metadata" {
			meta := *f.node
			meta.fields = slices.DeleteFunc(slices.Clone(meta.fields), func(f field) bool { return slices.Contains(unowned, f.entry.JsonName) })
			root.fields[i].node, root.fields[i].kept = &meta, true // it is nobody's itself
		}
	}
	return p
}

type compiler struct {
	schema *schema.Schema
	done   map[compiled]*node // those under way too, since types refer to themselves
}

type compiled struct {
	t     reflect.Type
	named string
	rel   schema.ElementRelationship
}

func (c compiler) node(t reflect.Type, ref schema.TypeRef) *node {
	atom, ok := c.schema.Resolve(ref)
	if !ok {
		return &node{}
	}
	if ref.NamedType == nil {
		return c.fill(&node{}, t, atom)
	}
	key := compiled{t: t, named: *ref.NamedType}
	if ref.ElementRelationship != nil {
		key.rel = *ref.ElementRelationship
	}
	if n, ok := c.done[key]; ok {
		return n
	}
	n := &node{}
	c.done[key] = n
	return c.fill(n, t, atom)
}

// fill makes a node of a type whose schema is an atom.
func (c compiler) fill(n *node, t reflect.Type, atom schema.Atom) *node {
	if t.Kind() == reflect.Pointer {
		n.ref, t = true, t.Elem()
	}
	converted := value.TypeReflectEntryOf(t).CanConvertToUnstructured()
	switch k := t.Kind(); {
	case k == reflect.Pointer || k == reflect.Interface:
	case whole(atom), atom.Scalar != nil && t == reflect.TypeFor[intstr.IntOrString](): // whose schema says nothing
		n.shape = leaf
	case converted || atom.Scalar != nil || atom.List != nil && atom.Map != nil:
	case atom.Map != nil && k == reflect.Struct:
		c.record(n, t, atom.Map)
	case atom.Map != nil && k == reflect.Map && t.Key().Kind() == reflect.String && len(atom.Map.Fields) == 0:
		n.shape, n.item = dictionary, c.node(t.Elem(), atom.Map.ElementType)
	case atom.List != nil && k == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		c.list(n, t.Elem(), atom.List)
	}
	return n
}

// whole says whether a value of any of an atom's forms is owned as one.
func whole(a schema.Atom) bool {
	return (a.Scalar != nil || a.List != nil || a.Map != nil) && (a.List == nil || a.List.ElementRelationship == schema.Atomic) &&
		(a.Map == nil || a.Map.ElementRelationship == schema.Atomic)
}

func (c compiler) record(n *node, t reflect.Type, m *schema.Map) {
	n.shape = record
	zero := reflect.New(t).Elem()
	for _, e := range value.TypeReflectEntryOf(t).OrderedFields() {
		of := m.ElementType
		if f, ok := m.FindField(e.JsonName); ok {
			of = f.Type
		}
		absent := e.GetFrom(zero)
		n.fields = append(n.fields, field{quote("f:" + e.JsonName), e, c.node(absent.Type(), of), !e.CanOmit(absent)})
	}
}

func (c compiler) list(n *node, item reflect.Type, l *schema.List) {
	if l.ElementRelationship != schema.Associative {
		return
	}
	n.item = c.node(item, l.ElementType)
	if len(l.Keys) == 0 {
		if item.Kind() == reflect.String && n.item.shape == leaf {
			n.shape = set
		}
		return
	}
	if item.Kind() != reflect.Struct || n.item.shape != record {
		return
	}
	known := value.TypeReflectEntryOf(item).Fields()
	for _, name := range slices.Sorted(slices.Values(l.Keys)) {
		e, ok := known[name]
		if !ok {
			return
		}
		n.keys = append(n.keys, e)
	}
	n.shape = keyed
}
