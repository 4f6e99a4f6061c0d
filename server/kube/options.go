package kube

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/peapod-sh/peapod/api"
)

// The options of connecting subresources come as query parameters, for which the published scheme
// has no conversions.
func init() {
	for _, o := range []any{&corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{}, &corev1.PodPortForwardOptions{},
		&corev1.PodProxyOptions{}, &corev1.ServiceProxyOptions{}, &corev1.NodeProxyOptions{}} {
		utilruntime.Must(api.Scheme.AddConversionFunc((*url.Values)(nil), o, func(in, out any, _ conversion.Scope) error {
			return readQuery(*in.(*url.Values), out)
		}))
	}
}

// readQuery fills the fields of a struct of options from the parameters with their JSON names.
func readQuery(q url.Values, out any) error {
	v := reflect.ValueOf(out).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		values, ok := q[name]
		if name == "" || !ok || len(values) == 0 {
			continue
		}
		if err := readParameter(v.Field(i), values); err != nil {
			return fmt.Errorf("query parameter %s: %w", name, err)
		}
	}
	return nil
}

func readParameter(f reflect.Value, values []string) error {
	switch p := f.Addr().Interface().(type) {
	case *string:
		*p = values[0]
	case **string:
		*p = &values[0]
	case *[]string:
		*p = values
	case *bool:
		*p = truth(values[0])
	case **int64:
		n, err := strconv.ParseInt(values[0], 10, 64)
		*p = &n
		return err
	case *[]int32:
		for _, s := range values {
			n, err := strconv.ParseInt(s, 10, 32)
			if err != nil {
				return err
			}
			*p = append(*p, int32(n))
		}
	case **metav1.Time:
		t := &metav1.Time{}
		*p = t
		return t.UnmarshalQueryParameter(values[0])
	}
	return nil
}

// truth reads a flag as Kubernetes does: present is true, unless it says otherwise.
func truth(s string) bool {
	switch strings.ToLower(s) {
	case "false", "0":
		return false
	}
	return true
}
