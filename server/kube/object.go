package kube

import (
	"maps"
	"reflect"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// metaObject is any object of a kind.
type metaObject interface {
	runtime.Object
	metav1.Object
}

// shallow copies the top-level struct, so that TypeMeta and the scalars of ObjectMeta can be set:
// encoders write the TypeMeta of what they encode, and stored objects are shared.
func shallow(o runtime.Object) runtime.Object {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return shallowMap(u)
	}
	v := reflect.ValueOf(o).Elem()
	c := reflect.New(v.Type())
	c.Elem().Set(v)
	return c.Interface().(runtime.Object)
}

// shallowMap does the same for an object that is a map.
func shallowMap(u *unstructured.Unstructured) runtime.Object {
	c := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	if m, ok := c.Object["metadata"].(map[string]any); ok {
		c.Object["metadata"] = maps.Clone(m)
	}
	return c
}

// assign makes dst a shallow copy of src.
func assign(dst, src runtime.Object) {
	reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src).Elem())
}

func accessor(o runtime.Object) metav1.Object {
	m, err := meta.Accessor(o)
	if err != nil {
		panic("kube: an object of the table of kinds has no metadata: " + err.Error())
	}
	return m
}

func revisionOf(o runtime.Object) uint64 {
	n, _ := strconv.ParseUint(accessor(o).GetResourceVersion(), 10, 64)
	return n
}

func setRevision(o runtime.Object, revision uint64) {
	accessor(o).SetResourceVersion(strconv.FormatUint(revision, 10))
}

// withRevision is a shallow copy with another resource version.
func withRevision(o runtime.Object, revision uint64) runtime.Object {
	c := shallow(o)
	setRevision(c, revision)
	return c
}
