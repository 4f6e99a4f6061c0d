package ops

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func sample() []Op {
	return []Op{
		&Put{Resource: schema.GroupResource{Resource: "configmaps"}, Expect: Any,
			Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}, Data: map[string]string{"k": "v"}}},
		&Delete{Resource: schema.GroupResource{Group: "apps", Resource: "deployments"}, Namespace: "ns", Name: "d", UID: "not a usual uid", Expect: Exists},
		&PlanPods{Template: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}}, Created: 5, Rows: []PlanRow{
			{Suffix: "abcde", UID: "01234567-89ab-4def-8123-456789abcdef", Node: "n2"}, {Suffix: "x", UID: "odd", Node: ""}}},
		&BindPods{Now: 7, Rows: []BindRow{{Namespace: "ns", Name: "p", UID: "u", Node: "n"}}},
		&PodStatuses{Rows: []StatusRow{{Namespace: "ns", Name: "p", UID: "u", Expect: 9, Status: []byte{1, 2}}}},
		&DeletePods{Now: 8, Rows: []DeleteRow{{Namespace: "ns", Name: "p", Grace: -1}, {Namespace: "ns", Name: "q", Grace: 30}}},
		&PutMeta{Key: "k", Value: []byte("v"), IfAbsent: true},
		&PutMeta{Key: "gone"},
	}
}

// TestRoundTrip: Invariant 7.
func TestRoundTrip(t *testing.T) {
	b, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if Count(b) != len(sample()) {
		t.Errorf("Count says %d", Count(b))
	}
}

func TestJoin(t *testing.T) {
	all := sample()
	a, _ := Encode(all[:3])
	b, _ := Encode(all[3:])
	joined, err := Join([][]byte{a, b})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(joined)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A cut or unknown list is an error, never a shorter list.
// Invariant 7.
func TestDamage(t *testing.T) {
	b, _ := Encode(sample())
	for cut := range len(b) {
		if _, err := Decode(b[:cut]); !errors.Is(err, ErrDecode) {
			t.Fatalf("cut after %d of %d bytes: %v", cut, len(b), err)
		}
	}
	if _, err := Decode([]byte{formatVersion, 1, 200}); !errors.Is(err, ErrDecode) {
		t.Errorf("an unknown kind of op: %v", err)
	}
	if _, err := Decode(append(b, 0)); !errors.Is(err, ErrDecode) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestUID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := types.UID(rapid.OneOf(rapid.StringMatching(`[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), rapid.String()).Draw(t, "uid"))
		w := writer{}
		w.uid(u)
		r := reader{b: w.b}
		if got := r.uid(); got != u || r.err != nil || len(r.b) > 0 {
			t.Fatalf("%q came back as %q, %v", u, got, r.err)
		}
	})
}

func TestResults(t *testing.T) {
	want := []Result{{Revision: 7, Rows: []Outcome{Applied, Conflict}, Detail: "why"}, {Rows: []Outcome{NotFound}}}
	got, err := DecodeResults(EncodeResults(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
