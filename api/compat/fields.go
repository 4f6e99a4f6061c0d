package compat

import (
	"reflect"
	"strings"

	"github.com/peapod-sh/peapod/api"
)

// Field is a field of a kind, as people write it.
type Field struct {
	Kind *api.Kind
	Path string // "spec.volumes.emptyDir"
	Name string // "core/v1.Volume.EmptyDir", or that of an embedded type's
}

// Walk visits the fields of all kinds that people write, metadata and statuses left out, each type once: where a kind has a field of a type that an
// earlier one has too, such as a pod's template, what is within is visited there only. Descend says whether to go on into a field.
func Walk(descend func(Field) bool) {
	seen := map[reflect.Type]bool{}
	for _, k := range api.Kinds() {
		w := walk{kind: k, seen: seen, descend: descend}
		w.into(reflect.TypeOf(k.New()), "")
	}
}

type walk struct {
	kind    *api.Kind
	seen    map[reflect.Type]bool
	descend func(Field) bool
}

func (w *walk) into(t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	library, ours := strings.CutPrefix(t.PkgPath(), libraries)
	if t.Kind() != reflect.Struct || !ours || w.seen[t] {
		return
	}
	w.seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && (f.Anonymous || strings.Contains(options, "inline")):
			w.into(f.Type, path)
		case name == "" || name == "-" || path == "" && (name == "metadata" || name == "status"):
		default:
			field := Field{Kind: w.kind, Path: strings.TrimPrefix(path+"."+name, "."), Name: library + "." + t.Name() + "." + f.Name}
			if w.descend(field) {
				w.into(f.Type, field.Path)
			}
		}
	}
}
