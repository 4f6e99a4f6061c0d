package fieldset

import (
	"slices"
	"strconv"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// CreatedDocument returns the FieldsV1 of who creates an object that is a map, as JSON is read, by the schema of its kind: nil if nothing is
// owned. The object has been pruned and defaulted. What is in the top-level fields named in reset is nobody's. ok is false if only the library
// knows; the object has no managed fields.
func CreatedDocument(object map[string]any, s *schema.Structural, reset ...string) (fields []byte, ok bool) {
	w := documentWriter{writer{out: make([]byte, 0, 256)}}
	w.out = append(w.out, '{')
	for _, name := range names(object) {
		switch {
		case name == "apiVersion" || name == "kind" || slices.Contains(reset, name):
		case name == "metadata":
			w.metadata(object[name])
		default:
			w.property(object[name], name, s)
		}
	}
	if w.lost {
		return nil, false
	}
	if len(w.out) == 1 {
		return nil, true
	}
	return append(w.out, '}'), true
}

// documentWriter is one walk over a map.
type documentWriter struct{ writer }

func names(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// metadata writes what the creator owns there.
func (w *documentWriter) metadata(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		w.lost = true
		return
	}
	begin := len(w.out)
	w.name(`"f:metadata"`)
	inside := len(w.out)
	for _, name := range names(m) {
		if !slices.Contains(unowned, name) {
			w.property(m[name], name, metadata)
		}
	}
	if len(w.out) == inside {
		w.out = w.out[:begin]
		return
	}
	w.end()
}

// metadata is the schema of all objects' metadata, as far as clients own it.
var metadata = func() *schema.Structural {
	text, set, keyed, whole := scalar("string"), "set", "map", "atomic"
	texts := schema.Structural{Generic: schema.Generic{Type: "object"}, AdditionalProperties: &schema.StructuralOrBool{Structural: &text}}
	owner := schema.Structural{Generic: schema.Generic{Type: "object"}, Extensions: schema.Extensions{XMapType: &whole}}
	list := func(item schema.Structural, e schema.Extensions) schema.Structural {
		return schema.Structural{Generic: schema.Generic{Type: "array"}, Items: &item, Extensions: e}
	}
	return &schema.Structural{Generic: schema.Generic{Type: "object"}, Properties: map[string]schema.Structural{
		"generateName": text, "labels": texts, "annotations": texts,
		"finalizers":      list(text, schema.Extensions{XListType: &set}),
		"ownerReferences": list(owner, schema.Extensions{XListType: &keyed, XListMapKeys: []string{"uid"}}),
	}}
}()

func scalar(of string) schema.Structural {
	return schema.Structural{Generic: schema.Generic{Type: of}}
}

// property writes a field of an object with a schema.
func (w *documentWriter) property(v any, name string, s *schema.Structural) {
	switch p, known := s.Properties[name]; {
	case known:
		w.named(v, name, &p)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
		w.named(v, name, s.AdditionalProperties.Structural)
	default:
		w.lost = true
	}
}

func (w *documentWriter) named(v any, name string, s *schema.Structural) {
	if !plain(name) {
		w.lost = true
		return
	}
	w.name(quote("f:" + name))
	w.value(v, s)
	w.end()
}

// value writes what is in v. The caller has written its name.
func (w *documentWriter) value(v any, s *schema.Structural) {
	if s.XPreserveUnknownFields || s.XEmbeddedResource { // where the library guesses by the value
		w.lost = true
		return
	}
	switch v := v.(type) {
	case map[string]any:
		w.object(v, s)
	case []any:
		w.array(v, s)
	case string, int64, float64, bool:
		w.lost = w.lost || s.Type == "object" || s.Type == "array" || s.Type == "" && !s.XIntOrString
	default: // null too
		w.lost = true
	}
}

func (w *documentWriter) object(m map[string]any, s *schema.Structural) {
	switch {
	case s.Type != "object":
		w.lost = true
	case len(m) == 0 || s.XMapType != nil && *s.XMapType == "atomic": // owned as one
	default:
		w.out = append(w.out, `".":{}`...)
		for _, name := range names(m) {
			w.property(m[name], name, s)
		}
	}
}

func (w *documentWriter) array(list []any, s *schema.Structural) {
	switch {
	case s.Type != "array" || s.Items == nil:
		w.lost = true
	case len(list) == 0 || s.XListType == nil || *s.XListType == "atomic": // owned as one
	case *s.XListType == "set":
		w.out = append(w.out, `".":{}`...)
		w.stringSet(list)
	case *s.XListType == "map":
		w.out = append(w.out, `".":{}`...)
		w.keyed(list, s)
	default:
		w.lost = true
	}
}

func (w *documentWriter) stringSet(list []any) {
	all := make([]string, 0, 8)
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			w.lost = true
			return
		}
		all = append(all, s)
	}
	w.sorted(all)
}

// documentItem is one of a keyed list.
type documentItem struct {
	item
	value map[string]any
}

func (w *documentWriter) keyed(list []any, s *schema.Structural) {
	all, keys := make([]documentItem, 0, 8), slices.Sorted(slices.Values(s.XListMapKeys))
	for _, v := range list {
		it := documentItem{}
		if it.value, _ = v.(map[string]any); !it.read(keys) {
			w.lost = true
			return
		}
		all = append(all, it)
	}
	slices.SortFunc(all, func(a, b documentItem) int { return compareItems(a.item, b.item) })
	for i, it := range all {
		if i > 0 && compareItems(all[i-1].item, it.item) == 0 {
			w.lost = true
			return
		}
		w.name(it.name)
		w.value(it.value, s.Items)
		w.end()
	}
}

// read takes an item's keys. It is false if one is missing, or neither a plain string nor an integer.
func (it *documentItem) read(keys []string) bool {
	if len(keys) > len(it.keys) {
		return false
	}
	b := append(make([]byte, 0, 64), `"k:{`...)
	for i, name := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		if !plain(name) {
			return false
		}
		b = append(b, `\"`...)
		b = append(b, name...)
		b = append(b, `\":`...)
		switch v := it.value[name].(type) {
		case string:
			if !plain(v) {
				return false
			}
			it.keys[i].text = v
			b = append(b, `\"`...)
			b = append(b, v...)
			b = append(b, `\"`...)
		case int64:
			it.keys[i].number = v
			b = strconv.AppendInt(b, v, 10)
		default:
			return false
		}
	}
	it.name = string(append(b, `}"`...))
	return true
}
