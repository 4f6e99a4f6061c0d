package fieldset

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"strconv"

	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// writer is one walk over an object.
type writer struct {
	out  []byte
	lost bool // something is not known to the plan
}

// Created returns the FieldsV1 of who creates obj, a pointer to the plan's type: nil if nothing is owned. ok is false if only the library
// knows; obj has no managed fields.
func (p *Plan) Created(obj any) (fields []byte, ok bool) {
	w := writer{out: make([]byte, 0, 256)}
	w.out = append(w.out, '{')
	v := reflect.ValueOf(obj).Elem()
	for _, e := range p.reset {
		if !e.GetFrom(v).IsZero() {
			return nil, false
		}
	}
	w.changed(p.root, v)
	if w.lost {
		return nil, false
	}
	if len(w.out) == 1 {
		return nil, true
	}
	return append(w.out, '}'), true
}

// name begins an entry.
func (w *writer) name(quoted string) {
	if w.out[len(w.out)-1] != '{' {
		w.out = append(w.out, ',')
	}
	w.out = append(w.out, quoted...)
	w.out = append(w.out, ':', '{')
}

func (w *writer) end() { w.out = append(w.out, '}') }

// changed writes what v, which an empty object has too, has that it has not there. The value there is nothing's: null, or a struct's zero.
func (w *writer) changed(n *node, v reflect.Value) {
	switch n.shape {
	case record:
		if v.Kind() == reflect.Pointer { // not null: whoever asks has looked
			w.fields(n, v.Elem())
			return
		}
		for i := range n.fields {
			f := &n.fields[i]
			e := f.entry.GetFrom(v)
			switch {
			case f.kept:
				w.changedField(f, e)
			case !f.entry.CanOmit(e):
				w.name(f.name)
				w.added(f.node, e)
				w.end()
			}
		}
	case dictionary, keyed, set:
		w.items(n, deref(v))
	default:
		w.lost = true
	}
}

// changedField writes a field that an empty record shows too, if it has another value here.
func (w *writer) changedField(f *field, v reflect.Value) {
	if v.IsZero() {
		return
	}
	begin := len(w.out)
	w.name(f.name)
	inside := len(w.out)
	switch f.node.shape {
	case leaf:
		if v.Kind() == reflect.Pointer && f.entry.TypeEntry.CanConvertToUnstructured() {
			w.lost = true // it may show as null
		}
		if v.Kind() == reflect.Struct && !differs(v) {
			w.out = w.out[:begin]
			return
		}
	case unknown:
		w.lost = true
	default:
		// Where nothing was, something without content is a change of its own.
		if v.Kind() == reflect.Struct || !hollow(f.node, deref(v)) {
			w.changed(f.node, v)
			if len(w.out) == inside {
				w.out = w.out[:begin]
				return
			}
		}
	}
	w.end()
}

// differs says whether a struct that is owned as one shows something else than its zero value, as a time in another zone does not.
func differs(v reflect.Value) bool {
	is := reflect.New(v.Type())
	is.Elem().Set(v)
	a, err := value.NewValueReflect(is.Interface())
	b, err2 := value.NewValueReflect(reflect.New(v.Type()).Interface())
	return err != nil || err2 != nil || !value.Equals(a, b)
}

// added writes what is in v, of which an empty object has nothing. The caller has written its name.
func (w *writer) added(n *node, v reflect.Value) {
	switch n.shape {
	case leaf:
		return
	case unknown:
		w.lost = true
		return
	}
	if nothingAt(v) || hollow(n, deref(v)) {
		return // owned as one
	}
	w.out = append(w.out, `".":{}`...)
	w.items(n, deref(v))
}

// nothingAt says whether there is no value at all.
func nothingAt(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return v.IsNil()
	}
	return false
}

// hollow says whether a value has no content that could be owned by itself.
func hollow(n *node, v reflect.Value) bool {
	if n.shape != record {
		return v.Len() == 0
	}
	for i := range n.fields {
		if f := &n.fields[i]; !f.entry.CanOmit(f.entry.GetFrom(v)) {
			return false
		}
	}
	return true
}

func (w *writer) items(n *node, v reflect.Value) {
	switch n.shape {
	case record:
		w.fields(n, v)
	case dictionary:
		w.entries(n, v)
	case keyed:
		w.list(n, v)
	case set:
		w.strings(v)
	}
}

// fields writes all of a record's.
func (w *writer) fields(n *node, v reflect.Value) {
	for i := range n.fields {
		f := &n.fields[i]
		if e := f.entry.GetFrom(v); !f.entry.CanOmit(e) {
			w.name(f.name)
			w.added(f.node, e)
			w.end()
		}
	}
}

func (w *writer) entries(n *node, v reflect.Value) {
	names := make([]string, 0, 8)
	for i := v.MapRange(); i.Next(); {
		names = append(names, i.Key().String())
	}
	slices.Sort(names)
	for _, name := range names {
		if !plain(name) {
			w.lost = true
			return
		}
		w.name(quote("f:" + name))
		if n.item.shape != leaf {
			w.added(n.item, v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())))
		}
		w.end()
	}
}

// item is one of a keyed list.
type item struct {
	name  string
	keys  [4]key
	value reflect.Value
}

// key is a string or a number.
type key struct {
	text   string
	number int64
}

func compareItems(a, b item) int {
	for i := range a.keys {
		if c := cmp.Or(cmp.Compare(a.keys[i].text, b.keys[i].text), cmp.Compare(a.keys[i].number, b.keys[i].number)); c != 0 {
			return c
		}
	}
	return 0
}

// list writes the items of a keyed list, in the order of their keys.
func (w *writer) list(n *node, v reflect.Value) {
	all := make([]item, 0, 8)
	for i := range v.Len() {
		it := item{value: v.Index(i)}
		if !it.read(n.keys) {
			w.lost = true
			return
		}
		all = append(all, it)
	}
	slices.SortFunc(all, compareItems)
	for i, it := range all {
		if i > 0 && compareItems(all[i-1], it) == 0 {
			w.lost = true
			return
		}
		w.name(it.name)
		w.added(n.item, it.value)
		w.end()
	}
}

// read takes an item's keys. It is false if one is missing, or neither a plain string nor a number.
func (it *item) read(keys []*value.FieldCacheEntry) bool {
	if len(keys) > len(it.keys) {
		return false
	}
	b := append(make([]byte, 0, 64), `"k:{`...)
	for i, e := range keys {
		v := e.GetFrom(it.value)
		if e.CanOmit(v) || nothingAt(v) || e.TypeEntry.CanConvertToUnstructured() {
			return false
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `\"`...)
		b = append(b, e.JsonName...)
		b = append(b, `\":`...)
		switch v = deref(v); v.Kind() {
		case reflect.String:
			it.keys[i].text = v.String()
			if !plain(it.keys[i].text) {
				return false
			}
			b = append(b, `\"`...)
			b = append(b, it.keys[i].text...)
			b = append(b, `\"`...)
		case reflect.Int, reflect.Int32, reflect.Int64:
			it.keys[i].number = v.Int()
			b = strconv.AppendInt(b, v.Int(), 10)
		default:
			return false
		}
	}
	it.name = string(append(b, `}"`...))
	return true
}

func (w *writer) strings(v reflect.Value) {
	all := make([]string, 0, 8)
	for i := range v.Len() {
		all = append(all, v.Index(i).String())
	}
	w.sorted(all)
}

// sorted writes the items of a set.
func (w *writer) sorted(all []string) {
	slices.Sort(all)
	for i, s := range all {
		if !plain(s) || i > 0 && s == all[i-1] {
			w.lost = true
			return
		}
		w.name(`"v:\"` + s + `\""`)
		w.end()
	}
}

// plain tells of text that no encoder of JSON writes otherwise.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || bytes.IndexByte([]byte(`"\<>&`), c) >= 0 {
			return false
		}
	}
	return true
}

func quote(s string) string { return `"` + s + `"` }

func deref(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Pointer {
		return v.Elem()
	}
	return v
}
