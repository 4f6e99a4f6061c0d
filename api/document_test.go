package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var widgets = schema.GroupResource{Group: "shop.example", Resource: "widgets"}

// TestDocumentRoundTrip: an object comes out of the store as it went in, whatever is in it.
// Invariant 157.
func TestDocumentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		object := map[string]any{"apiVersion": "shop.example/v1", "kind": "Widget",
			"metadata": map[string]any{"name": "a", "namespace": "b", "uid": "u", "resourceVersion": "7", "generation": float64(3),
				"labels": map[string]any{"x": text.Draw(t, "label")}, "finalizers": []any{"shop.example/x"}, "creationTimestamp": "2026-01-02T03:04:05Z",
				"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "o"}},
				"managedFields":   []any{map[string]any{"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:spec": map[string]any{}}}}}}
		for _, field := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"spec", "status", "data", "\u00e4", ""}), rapid.ID).Draw(t, "fields") {
			object[field] = map[string]any{text.Draw(t, "key"): []any{text.Draw(t, "value"), rapid.Float64().Draw(t, "number"), nil, true}}
		}
		in, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDocument(in)
		if err != nil {
			t.Fatal(err)
		}
		if d.Name != "a" || d.UID != types.UID("u") || d.OwnerReferences[0].UID != "o" || d.Kind != "Widget" {
			t.Fatalf("its metadata is %+v", d.ObjectMeta)
		}
		b, err := Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		sized, err := AppendSized([]byte("before"), d)
		if want := append(binary.AppendUvarint([]byte("before"), uint64(len(b))), b...); err != nil || !bytes.Equal(sized, want) {
			t.Fatalf("with its size it is %q, %v; want %q", sized, err, want)
		}
		stored, err := Decode(widgets, b)
		if err != nil {
			t.Fatal(err)
		}
		out, err := stored.DeepCopyObject().(*Document).JSON()
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if diff := cmp.Diff(object, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestDocumentOfNothing(t *testing.T) {
	for _, text := range []string{"", "[]", "null", "{}", `{"kind":"x"}`, `{"apiVersion":3,"kind":"x"}`, `{"apiVersion":"a","kind":"x","metadata":[]}`} {
		if _, err := NewDocument([]byte(text)); err == nil {
			t.Errorf("%q is a document", text)
		}
	}
	d := &Document{TypeMeta: metav1.TypeMeta{APIVersion: "a", Kind: "b"}, Rest: []byte("{}")}
	if b, err := d.JSON(); err != nil || !json.Valid(b) {
		t.Errorf("the smallest is %s, %v", b, err)
	}
}

func FuzzDocument(f *testing.F) {
	good, err := (&Document{TypeMeta: metav1.TypeMeta{APIVersion: "a", Kind: "b"}, ObjectMeta: metav1.ObjectMeta{Name: "n"}, Rest: []byte(`{"x":1}`)}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &Document{}
		if d.Unmarshal(b) != nil {
			return
		}
		again := &Document{}
		if b, err := d.Marshal(); err != nil || again.Unmarshal(b) != nil || !cmp.Equal(d.TypeMeta, again.TypeMeta) || string(d.Rest) != string(again.Rest) {
			t.Errorf("%+v comes back as %+v, %v", d, again, err)
		}
	})
}
