package kube_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

// filler makes objects of a few plain words, so that names collide now and then, with empty lists and maps, and the odd word that an
// encoder would escape.
func filler(seed int64, nils float64) *randfill.Filler {
	words := []string{"", "a", "b", "web", "example.com/x", "1", "c-d", "e_f", "z"}
	return randfill.New().RandSource(rand.NewSource(seed)).NilChance(nils).NumElements(0, 4).MaxDepth(20).Funcs(
		func(s *string, c randfill.Continue) {
			if *s = words[c.Intn(len(words))]; c.Intn(2000) == 0 {
				*s = "<é\"\n"
			} else if c.Intn(3) == 0 {
				*s = fmt.Sprintf("%s%d", *s, c.Intn(1000))
			}
		},
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(3)*500, resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			if *v = intstr.FromInt32(c.Int31n(3)); c.Bool() {
				*v = intstr.FromString(words[c.Intn(len(words))])
			}
		},
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<31), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.MicroTime{Time: time.Unix(c.Int63n(1<<31), 5000)}
		},
		func(f *[]metav1.ManagedFieldsEntry, _ randfill.Continue) { *f = nil },
		func(e *runtime.RawExtension, _ randfill.Continue) { e.Raw = []byte(`{"n":1}`) },
		func(f *metav1.FieldsV1, _ randfill.Continue) { f.Raw = []byte(`{}`) },
		func(*metav1.TypeMeta, randfill.Continue) {},
	)
}

// The managed fields of a new object are those of the library, byte for byte, for every kind.
func TestCreatedFieldsAreTheLibrarys(t *testing.T) {
	s, err := kube.New(kube.Config{Store: kubetest.New(), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	owners := kube.NewOwners(s)
	const seeds = 150
	for _, k := range owners.Kinds() {
		t.Run(k.GroupResource().String(), func(t *testing.T) {
			known := 0
			for seed := range seeds {
				o := k.New()
				filler(int64(seed), float64(seed%10)/10).Fill(o)
				if v := reflect.ValueOf(o).Elem().FieldByName("Status"); v.IsValid() && seed%7 != 0 {
					v.SetZero()
				}
				o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
				ours := o.DeepCopyObject()
				if !owners.Plain(k, ours, "me") {
					continue
				}
				known++
				theirs, err := owners.Library(k, o, "me")
				if err != nil {
					t.Fatalf("seed %d: the library: %v", seed, err)
				}
				if a, b := owned(t, ours), owned(t, theirs); a != b {
					t.Fatalf("seed %d:\nours   %s\ntheirs %s", seed, a, b)
				}
			}
			if known < seeds/30 {
				t.Errorf("only %d of %d objects are known to the plan", known, seeds)
			}
		})
	}
}

// owned shows an object's managed fields but for their time.
func owned(t *testing.T, o runtime.Object) string {
	t.Helper()
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, e := range m.GetManagedFields() {
		if e.Time == nil {
			t.Errorf("the entry of %s has no time", e.Manager)
		}
		fmt.Fprintf(&out, "%s %s %s %s %s %s\n", e.Manager, e.Operation, e.APIVersion, e.Subresource, e.FieldsType, e.FieldsV1.Raw)
	}
	return out.String()
}
