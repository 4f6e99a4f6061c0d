package api

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// valueOf reads an optional field; absent is zero.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func isTrue(p *bool) bool { return p != nil && *p }

// sortedKeys gives a map's keys in order, so that equal objects are told equal things.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func itoa(n int) string { return strconv.Itoa(n) }

func parseInt(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

// fieldsOutside lists the JSON names of those fields of a struct that hold something and are not allowed to.
func fieldsOutside(structPointer any, allowed []string) (names []string) {
	v := reflect.ValueOf(structPointer).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if !v.Field(i).IsZero() && !slices.Contains(allowed, name) {
			names = append(names, name)
		}
	}
	return names
}

// selectorText is the selector in the form that a list request takes.
func selectorText(s *metav1.LabelSelector) string {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "" // validation keeps such selectors out
	}
	return sel.String()
}

// frozen reports a change of a field of an object that says of itself that it is immutable.
func frozen[T any](now, before T, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(now, before) {
		return nil
	}
	return field.ErrorList{field.Forbidden(path, "field is immutable when `immutable` is set")}
}

// stillImmutable: what was declared immutable stays so.
func stillImmutable(p *bool) field.ErrorList {
	if isTrue(p) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set")}
}

func validateFinalizer(name string, path *field.Path) field.ErrorList {
	return validation.ValidateFinalizerName(name, path)
}

// nonnegative reports numbers below zero.
func nonnegative(n int64, path *field.Path) field.ErrorList {
	return validation.ValidateNonnegativeField(n, path)
}
