package aggregate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/server/aggregate"
)

var now = metav1.NewTime(time.Unix(1e9, 0))

func local(group, version string, custom bool) aggregate.Local {
	return aggregate.Local{GroupVersion: schema.GroupVersion{Group: group, Version: version}, GroupPriority: 1000, VersionPriority: 15, Custom: custom}
}

// labelled is an APIService as the cluster or, with managed "", a user has made it.
func labelled(group, version, managed string, remote bool) *apiregistrationv1.APIService {
	s := newService(group, version)
	if !remote {
		s.Spec.Service = nil
		s.Status.Conditions = []apiregistrationv1.APIServiceCondition{{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Local"}}
	}
	if managed != "" {
		s.Labels = map[string]string{"kube-aggregator.kubernetes.io/automanaged": managed}
	}
	return s
}

func names(list []*apiregistrationv1.APIService) string {
	var out []string
	for _, s := range list {
		out = append(out, s.Name)
	}
	return strings.Join(out, " ")
}

// TestReconcile: what there should be is made, and what users have made stays. Invariant 202.
func TestReconcile(t *testing.T) {
	stale := labelled("apps", "v1", "onstart", false)
	stale.Status.Conditions = nil
	for _, c := range []struct {
		what                   string
		want                   []aggregate.Local
		have                   []*apiregistrationv1.APIService
		create, update, remove string
	}{
		{"nothing there yet", []aggregate.Local{local("", "v1", false), local("apps", "v1", false)}, nil, "v1. v1.apps", "", ""},
		{"all there", []aggregate.Local{local("apps", "v1", false)}, []*apiregistrationv1.APIService{labelled("apps", "v1", "onstart", false)}, "", "", ""},
		{"no condition", []aggregate.Local{local("apps", "v1", false)}, []*apiregistrationv1.APIService{stale}, "", "v1.apps", ""},
		{"a user took a built-in version over", []aggregate.Local{local("metrics.k8s.io", "v1beta1", false)},
			[]*apiregistrationv1.APIService{labelled("metrics.k8s.io", "v1beta1", "onstart", true)}, "", "", ""},
		{"a custom version that somebody pointed elsewhere", []aggregate.Local{local("a.b", "v1", true)},
			[]*apiregistrationv1.APIService{labelled("a.b", "v1", "true", true)}, "", "v1.a.b", ""},
		{"a user's for a custom version", []aggregate.Local{local("a.b", "v1", true)}, []*apiregistrationv1.APIService{labelled("a.b", "v1", "", true)}, "", "", ""},
		{"a custom version that is gone", nil, []*apiregistrationv1.APIService{labelled("a.b", "v1", "true", false)}, "", "", "v1.a.b"},
		{"a user's of anything", nil, []*apiregistrationv1.APIService{labelled("a.b", "v1", "", true), labelled("a.b", "v2", "", false)}, "", "", ""},
	} {
		got := aggregate.Reconcile(c.want, c.have, now)
		if names(got.Create) != c.create || names(got.Update) != c.update || names(got.Delete) != c.remove {
			t.Errorf("%s: create %q, update %q, delete %q", c.what, names(got.Create), names(got.Update), names(got.Delete))
		}
	}
}

// TestReconcileSettles: what it has asked for is enough, whatever was there, and users' objects stay as they are. Invariant 202.
func TestReconcileSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []aggregate.Local
		have := map[string]*apiregistrationv1.APIService{}
		for i := range rapid.IntRange(0, 6).Draw(t, "versions") {
			group := fmt.Sprintf("g%d.example", i)
			if rapid.Bool().Draw(t, "served") {
				want = append(want, local(group, "v1", rapid.Bool().Draw(t, "custom")))
			}
			if rapid.Bool().Draw(t, "there") {
				s := labelled(group, "v1", rapid.SampledFrom([]string{"", "onstart", "true"}).Draw(t, "label"), rapid.Bool().Draw(t, "remote"))
				if rapid.Bool().Draw(t, "unknown") {
					s.Status.Conditions = nil
				}
				have[s.Name] = s
			}
		}
		users := map[string]*apiregistrationv1.APIServiceSpec{}
		for name, s := range have {
			if len(s.Labels) == 0 {
				users[name] = s.Spec.DeepCopy()
			}
		}
		list := func() (out []*apiregistrationv1.APIService) {
			for _, s := range have {
				out = append(out, s)
			}
			return out
		}
		first := aggregate.Reconcile(want, list(), now)
		for _, s := range slices.Concat(first.Create, first.Update) {
			have[s.Name] = s
		}
		for _, s := range first.Delete {
			delete(have, s.Name)
		}
		if again := aggregate.Reconcile(want, list(), now); len(again.Create)+len(again.Update)+len(again.Delete) > 0 {
			t.Fatalf("once more: create %q, update %q, delete %q", names(again.Create), names(again.Update), names(again.Delete))
		}
		for _, l := range want {
			if have[l.Version+"."+l.Group] == nil {
				t.Fatalf("%v has none", l)
			}
		}
		for name, spec := range users {
			if s := have[name]; s == nil || s.Spec.Service == nil != (spec.Service == nil) || s.Spec.GroupPriorityMinimum != spec.GroupPriorityMinimum {
				t.Fatalf("the user's %s became %+v", name, s)
			}
		}
	})
}
