package agent

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// counts are how many elements each map and list of the agent and of its parts has, those at one path together. All of it is at rest.
func counts(a *Agent) map[string]int {
	const own = "github.com/peapod-sh/peapod/agent"
	out, seen := map[string]int{}, map[uintptr]bool{}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		if strings.HasPrefix(path, ".cfg") {
			return
		}
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] || !strings.HasPrefix(v.Type().Elem().PkgPath(), own) {
				return
			}
			seen[v.Pointer()] = true
			walk(path, v.Elem())
		case reflect.Struct:
			if !strings.HasPrefix(v.Type().PkgPath(), own) && v.Type().PkgPath() != "" {
				return
			}
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Map:
			out[path] += v.Len()
			for it := v.MapRange(); it.Next(); {
				walk(path+"[]", it.Value())
			}
		case reflect.Slice:
			out[path] += v.Len()
			for i := range v.Len() {
				walk(path+"[]", v.Index(i))
			}
		}
	}
	walk("", reflect.ValueOf(a))
	return out
}

// TestNothingStays: an agent may run for months, in which pods come and go without end. Invariant 235.
func TestNothingStays(t *testing.T) {
	script := func(name string, attempt int) behaviour {
		switch {
		case strings.Contains(name, "crash") && attempt < 3:
			return behaviour{runs: time.Second, code: 1}
		case strings.Contains(name, "broken") && attempt < 2:
			return behaviour{startFail: errors.New("it does not start")}
		case strings.Contains(name, "short"):
			return behaviour{runs: time.Second}
		}
		return behaviour{}
	}
	live(t, script, func(t *testing.T, w *world) {
		var sizes []map[string]int
		for i := range 5 {
			for _, kind := range []string{"plain", "crash", "broken", "short"} {
				p := podOf(fmt.Sprint(kind, i))
				p.Name, p.UID = fmt.Sprint(kind, i), types.UID(fmt.Sprint("uid-", kind, i))
				if kind == "short" {
					p.Spec.RestartPolicy = corev1.RestartPolicyNever
				}
				w.put(p)
			}
			w.after(10 * time.Minute)
			for _, kind := range []string{"plain", "crash", "broken", "short"} {
				w.delete(types.UID(fmt.Sprint("uid-", kind, i)), 5)
			}
			w.after(3 * time.Hour)
			sizes = append(sizes, counts(w.agent))
		}
		before, after := sizes[1], sizes[len(sizes)-1]
		for _, path := range slices.Sorted(maps.Keys(after)) {
			bounded := path == ".events.known" // see eventsKept
			if after[path] > before[path] && !bounded {
				t.Errorf("%s had %d after two visits and has %d after %d", path, before[path], after[path], len(sizes))
			}
		}
	})
}
