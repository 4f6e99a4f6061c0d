package api

import (
	stdjson "encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// apiModule is where k8s.io/api is, whose testdata has every type with every field set, in every encoding.
func apiModule(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// sameJSON compares what is kept as JSON by what it means.
var sameJSON = cmp.Comparer(func(a, b runtime.RawExtension) bool {
	var x, y any
	return stdjson.Unmarshal(a.Raw, &x) == nil && stdjson.Unmarshal(b.Raw, &y) == nil && cmp.Equal(x, y)
})

// What other programs encode is read whole, and means the same in each encoding.
func TestEncodingsOfOthers(t *testing.T) {
	dir := filepath.Join(apiModule(t), "testdata", "HEAD")
	text := json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{Strict: true})
	lines := json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{Yaml: true, Strict: true})
	binary := protobuf.NewSerializer(Scheme, Scheme)
	each := func(gv schema.GroupVersion, k *Kind) {
		group := gv.Group
		if group == "" {
			group = "core"
		}
		base := filepath.Join(dir, group+"."+gv.Version+"."+k.Name)
		t.Run(filepath.Base(base), func(t *testing.T) {
			var first runtime.Object
			for ending, s := range map[string]runtime.Serializer{".json": text, ".yaml": lines, ".pb": binary} {
				b, err := os.ReadFile(base + ending)
				if err != nil {
					t.Fatal(err)
				}
				o, _, err := s.Decode(b, nil, nil)
				if err != nil {
					t.Fatalf("%s: %v", ending, err)
				}
				if first == nil {
					first = o
				} else if diff := cmp.Diff(first, o, sameJSON); diff != "" {
					t.Errorf("%s means another thing:\n%s", ending, diff)
				}
				again, err := runtime.Encode(s, o)
				if err != nil {
					t.Fatalf("%s: %v", ending, err)
				}
				if ending == ".pb" && string(again) != string(b) {
					t.Errorf("%d bytes become %d", len(b), len(again))
				}
			}
			stored, err := Encode(hubOf(t, first, k))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(k.GroupResource(), stored); err != nil {
				t.Errorf("as it is stored: %v", err)
			}
		})
	}
	for _, k := range Kinds() {
		if k.GroupVersion.Group == apiregistrationv1.GroupName { // which is of another module, without such data
			continue
		}
		each(k.GroupVersion, k)
		for _, f := range k.Forms {
			each(f.GroupVersion, k)
		}
	}
}

// hubOf converts an object to the kind's own version.
func hubOf(t *testing.T, o runtime.Object, k *Kind) runtime.Object {
	t.Helper()
	hub, err := Scheme.ConvertToVersion(o, schema.GroupVersion{Group: o.GetObjectKind().GroupVersionKind().Group, Version: runtime.APIVersionInternal})
	if err != nil {
		t.Fatal(err)
	}
	return hub
}
