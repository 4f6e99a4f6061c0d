package kube

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// Names that begin like others are in the order of a document between the paths and schemas of those.
var describedPlurals = []string{"things", "things-a", "things1", "thingslist", "other"}

func drawDefinition(t *rapid.T, plural string) *apiextensionsv1.CustomResourceDefinition {
	d := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: plural + ".shop.example", UID: types.UID(plural),
		Generation: rapid.Int64Range(1, 3).Draw(t, "generation")}}
	of := fmt.Sprintf("%s <%d> & more.", plural, d.Generation)
	v := apiextensionsv1.CustomResourceDefinitionVersion{Name: "v1", Served: true, Storage: true, Subresources: &apiextensionsv1.CustomResourceSubresources{},
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Description: of,
			Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "string", Description: of}}}}}
	// What a definition says depends on its generation alone, as a server sees to it.
	if d.Generation != 2 {
		v.Subresources.Status = &apiextensionsv1.CustomResourceSubresourceStatus{}
	}
	if d.Generation == 3 {
		v.Subresources.Scale = &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.a", StatusReplicasPath: ".status.b"}
	}
	d.Spec = apiextensionsv1.CustomResourceDefinitionSpec{Group: "shop.example", Scope: apiextensionsv1.NamespaceScoped, Versions: []apiextensionsv1.CustomResourceDefinitionVersion{v},
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: strings.ToUpper(plural[:1]) + strings.ReplaceAll(plural[1:], "-", "") + "X", ListKind: plural + "Items"}}
	if strings.HasPrefix(plural, "other") {
		d.Spec.Scope = apiextensionsv1.ClusterScoped
	}
	d.Status.AcceptedNames = d.Spec.Names
	return d
}

// Invariant 211: the document that is made of pieces, after any changes, is to the byte what the library makes of all definitions at once.
func TestGroupTextIsTheLibrarys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text *groupText
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			var list []*apiextensionsv1.CustomResourceDefinition
			for _, plural := range rapid.SliceOfNDistinct(rapid.SampledFrom(describedPlurals), 1, 3, rapid.ID).Draw(t, "plurals") {
				list = append(list, drawDefinition(t, plural))
			}
			slices.SortFunc(list, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return compareNames(a.Name, b.Name) })
			whole, err := customV3(list, "v1")
			if err != nil {
				t.Fatal(err)
			}
			want, err := json.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			if text, err = text.with(list, "v1"); err != nil {
				t.Fatal(err)
			}
			if text.parts == nil {
				if !slices.ContainsFunc(list, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d.Spec.Names.Plural == "things-a" }) {
					t.Errorf("the paths of %d definitions are told to be interwoven", len(list))
				}
				continue
			}
			if got := inflated(t, text.parts); !bytes.Equal(got, want) {
				t.Fatalf("of %d definitions %s", len(list), difference(got, want))
			}
			if len(text.by) != len(list) {
				t.Errorf("it keeps the entries of %d definitions, there are %d", len(text.by), len(list))
			}
		}
	})
}

// difference is where two texts first differ.
func difference(got, want []byte) string {
	const before, after = 80, 40
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	around := func(b []byte) []byte { return b[max(0, at-before):min(len(b), at+after)] }
	return fmt.Sprintf("byte %d differs: there is\n%s\nnot\n%s", at, around(got), around(want))
}

// What has not changed is not built again.
func TestGroupTextKeepsWhatStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawDefinition(t, "other"), drawDefinition(t, "things"), drawDefinition(t, "things1")
		one, err := (*groupText)(nil).with([]*apiextensionsv1.CustomResourceDefinition{a, b}, "v1")
		if err != nil {
			t.Fatal(err)
		}
		two, err := one.with([]*apiextensionsv1.CustomResourceDefinition{b, c}, "v1")
		if err != nil {
			t.Fatal(err)
		}
		if one.by[described(b)] != two.by[described(b)] {
			t.Error("a definition that stayed was described anew")
		}
		if one.by[described(b)] == nil || two.by[described(a)] != nil {
			t.Error("the texts are not of the definitions")
		}
	})
}

func inflated(t *rapid.T, parts []deflated) []byte {
	var b bytes.Buffer
	if _, err := gzipOf(parts).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// BenchmarkGroupText makes the document of a group of sixty definitions, of which one has changed, from the last one and as a whole.
func BenchmarkGroupText(b *testing.B) {
	var list []*apiextensionsv1.CustomResourceDefinition
	rapid.Check(b, func(t *rapid.T) {
		list = nil
		for i := range 60 {
			list = append(list, drawDefinition(t, fmt.Sprintf("things%d", i)))
		}
	})
	last, err := (*groupText)(nil).with(list[1:], "v1")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("pieces", func(b *testing.B) {
		for range b.N {
			g, err := last.with(list, "v1")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(gzipOf(g.parts).length), "bytes")
		}
	})
	b.Run("whole", func(b *testing.B) {
		for range b.N {
			part := openAPIPart{v3: customParts(list)["apis/shop.example/v1"].v3}
			d, err := part.document(false, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(d.text.length), "bytes")
		}
	})
}
