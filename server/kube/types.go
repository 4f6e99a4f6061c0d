package kube

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/peapod-sh/peapod/api"
)

// lazyTypes is the converter behind managed fields and server-side apply, made on the first write,
// since a server that only follows should not pay for it.
type lazyTypes struct {
	get func() managedfields.TypeConverter
}

func newTypes() managedfields.TypeConverter {
	return lazyTypes{sync.OnceValue(func() managedfields.TypeConverter { return applyconfigurations.NewTypeConverter(api.Scheme) })}
}

func (l lazyTypes) ObjectToTyped(o runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	return l.get().ObjectToTyped(o, opts...)
}

func (l lazyTypes) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	return l.get().TypedToObject(v)
}
