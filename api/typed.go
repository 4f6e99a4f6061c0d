package api

import (
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The functions below let a kind's file speak of its own Go type: they wrap a typed function into
// the shape that Kind wants. A wrong type is a broken invariant of the table, so it panics.

func with[P runtime.Object](f func(P)) func(runtime.Object) {
	return func(o runtime.Object) { f(o.(P)) }
}

func withOld[P runtime.Object](f func(obj, old P)) func(obj, old runtime.Object) {
	return func(o, old runtime.Object) { f(o.(P), old.(P)) }
}

func check[P runtime.Object](f func(P) field.ErrorList) func(runtime.Object) field.ErrorList {
	return func(o runtime.Object) field.ErrorList { return f(o.(P)) }
}

func checkOld[P runtime.Object](f func(obj, old P) field.ErrorList) func(obj, old runtime.Object) field.ErrorList {
	return func(o, old runtime.Object) field.ErrorList { return f(o.(P), old.(P)) }
}

// convert wraps a conversion that cannot fail, between a form and its hub.
func convert[A, B runtime.Object](f func(from A, to B)) func(from, to runtime.Object) error {
	return func(from, to runtime.Object) error {
		f(from.(A), to.(B))
		return nil
	}
}

func row[P runtime.Object](f func(obj P, now time.Time) []any) func(runtime.Object, time.Time) []any {
	return func(o runtime.Object, now time.Time) []any { return f(o.(P), now) }
}

func selectable[P runtime.Object](f func(P) fields.Set) func(runtime.Object) fields.Set {
	return func(o runtime.Object) fields.Set { return f(o.(P)) }
}

// converts wraps a conversion between two forms of a kind.
func converts[From, To runtime.Object](f func(From, To) error) func(from, to runtime.Object) error {
	return func(from, to runtime.Object) error { return f(from.(From), to.(To)) }
}

// warnings wraps warnings that look at the new object, and care only whether there was an old one.
func warnings[P runtime.Object](f func(obj P, isNew bool) []string) func(obj, old runtime.Object) []string {
	return func(o, old runtime.Object) []string { return f(o.(P), old == nil) }
}
