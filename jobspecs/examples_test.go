package jobspecs

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/api"
)

var update = flag.Bool("update", false, "write the golden files of the examples")

// TestExamples reads every example, compares what it becomes, and asks the API's own rules whether
// they would take it.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file) // #nosec G304 -- our own examples
			if err != nil {
				t.Fatal(err)
			}
			spec, err := Parse(file, src, Vars{})
			if err != nil {
				t.Fatal(err)
			}
			if len(spec.Objects) == 0 {
				t.Fatal("no objects")
			}
			for _, u := range spec.Objects {
				checkAccepted(t, u)
			}
			if IsHCL(file) {
				compareGolden(t, filepath.Join("testdata", filepath.Base(file)+".yaml"), toYAML(t, spec.Objects))
			}
		})
	}
}

func toYAML(t *testing.T, objects []*unstructured.Unstructured) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, u := range objects {
		y, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(y)
	}
	return b.Bytes()
}

func compareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) // #nosec G304 -- our own golden files
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs (go test -update writes it); got:\n%s", file, got)
	}
}

// checkAccepted decodes strictly into the API's type, fills in defaults and validates, as the server would.
func checkAccepted(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	kind := kindOf(u)
	if kind == nil {
		t.Errorf("no kind %s", u.GroupVersionKind())
		return
	}
	o := kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, o, true); err != nil {
		t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		return
	}
	// The server gives every object these before it looks closer; a Job's selector is made of its UID.
	m := o.(metav1.Object)
	m.SetUID("0c7c2ba1-56e8-4b3e-a0f6-1c5c3a6a8f11")
	if kind.Default != nil {
		kind.Default(o)
	}
	if kind.PrepareForCreate != nil {
		kind.PrepareForCreate(o)
	}
	if kind.Validate == nil {
		return
	}
	for _, e := range kind.Validate(o) {
		// The server gives a Service its address before it validates.
		if strings.Contains(e.Field, "clusterIP") {
			continue
		}
		t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), e)
	}
}

func kindOf(u *unstructured.Unstructured) *api.Kind {
	for _, k := range api.Kinds() {
		if k.GroupVersionKind() == u.GroupVersionKind() {
			return k
		}
	}
	return nil
}
