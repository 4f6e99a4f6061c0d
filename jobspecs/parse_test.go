package jobspecs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inTask puts lines into the only task of a job that is otherwise good.
func inTask(lines string) string {
	return "job \"a\" {\n group \"g\" {\n  network { port \"http\" { to = 8080 } }\n  task \"t\" {\n   driver = \"oci\"\n   config { image = \"peapod/demo\" }\n" + lines + "\n  }\n }\n}\n"
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"nearest block":           {"jb \"a\" {}", `t.hcl:1:1: unknown block`},
		"suggestion":              {inTask("resorces { cpu = 1 }"), `Did you mean "resources"?`},
		"place":                   {inTask("usr = \"1\""), "t.hcl:7:1: unknown attribute"},
		"what Nomad has":          {inTask("vault { }"), "keep it in a Secret"},
		"driver":                  {strings.ReplaceAll(inTask(""), `"oci"`, `"raw_exec"`), "put the program in an image"},
		"marker":                  {inTask("user = \"bob\""), "    7 | user = \"bob\"\n      |        ^^^^^"},
		"unknown variable":        {inTask("user = var.x"), "t.hcl:7:11"},
		"no value":                {"variable \"x\" { type = string }\n", `variable "x" has no value: give one with -var x=VALUE`},
		"port without to":         {"job \"a\" {\n group \"g\" {\n network { port \"http\" {} }\n task \"t\" {\n driver = \"oci\"\n config { image = \"i\" }\n}\n}\n}", "say with `to`"},
		"no group":                {"job \"a\" {}", `has no group`},
		"bad name":                {strings.Replace(inTask(""), `"a"`, `"A b"`, 1), "job name"},
		"constraint":              {inTask("constraint { attribute = \"${attr.cpu.frequency}\", value = \"1\" }"), "label the nodes"},
		"reference":               {inTask("env { A = \"${NOMAD_ALLOC_INDEX}\" }"), "pods have no index here"},
		"reference out of place":  {inTask("kill_timeout = \"${NOMAD_ALLOC_ID}\""), "known only when a pod runs"},
		"local cycle":             {"locals {\n a = local.b\n b = local.a\n}", "depends on itself"},
		"system":                  {"job \"a\" {\n type = \"system\"\n group \"g\" {}\n}", "jobs of type system are not possible yet"},
		"type":                    {inTask("resources { memory = \"lots\" }"), "memory must be a number"},
		"memory_max below memory": {inTask("resources { memory = 64, memory_max = 32 }"), "must not be less"},
		"deep":                    {strings.Repeat("a {", 300), "nested too deeply"},
		"manifest metadata":       {`manifest "v1" "ConfigMap" "a" { labels = "x" }`, "labels must be a map of texts"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("t.hcl", []byte(c.src), Vars{})
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s\nlacks: %s", err, c.want)
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := Parse("t.hcl", []byte(inTask("user = \"bob\"\n vault {}\n resources { cpu = -1 }\n nonsense = 1")), Vars{})
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != 4 {
		t.Errorf("want 4 faults, got:\n%v", err)
	}
}

func TestVariables(t *testing.T) {
	src := []byte("variable \"n\" {\n type = number\n default = 1\n}\nmanifest \"v1\" \"ConfigMap\" \"a\" { data = { n = tostring(var.n) } }")
	for name, c := range map[string]struct {
		vars Vars
		want string
	}{
		"default":          {Vars{}, "1"},
		"environment":      {Vars{Environ: []string{"PEAPOD_VAR_n=2", "n=9"}}, "2"},
		"file over that":   {Vars{Environ: []string{"PEAPOD_VAR_n=2"}, Files: []VarFile{{"v", []byte("n = 3")}}}, "3"},
		"flag over all":    {Vars{Files: []VarFile{{"v", []byte("n = 3")}}, Values: []string{"n=4"}}, "4"},
		"other file's var": {Vars{Lax: true, Values: []string{"other=4"}}, "1"},
	} {
		spec, err := Parse("t.hcl", src, c.vars)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		data := spec.Objects[0].Object["data"].(map[string]any)
		if data["n"] != c.want {
			t.Errorf("%s: got %v, want %s", name, data["n"], c.want)
		}
	}
	if _, err := Parse("t.hcl", src, Vars{Values: []string{"m=1"}}); err == nil || !strings.Contains(err.Error(), `did you mean "n"?`) {
		t.Error(err)
	}
}

func TestYAML(t *testing.T) {
	good := "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\n{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"b\"}}]}\n"
	spec, err := Parse("t.yaml", []byte(good), Vars{})
	if err != nil || len(spec.Objects) != 2 || spec.Objects[1].GetName() != "b" {
		t.Fatal(spec, err)
	}
	_, err = Parse("t.yaml", []byte("apiVersion: v1\nmetadata: {name: a}\n---\nkind: A\nx: [\n---\napiVersion: v1\nkind: A\nkind: B\n"), Vars{})
	for _, want := range []string{"t.yaml:1:1: this object has no kind", "t.yaml:9:1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

// FuzzParse: whatever is in a file, Parse ends with objects or with faults that have a message, and
// means the same when asked again.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("examples/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file) // #nosec G304 -- our own examples
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src), IsHCL(file))
	}
	f.Add("a {b{c=1,d=2}}", true)
	f.Add("job \"a\" { group \"b\" { task \"c\" { env { A = \"${node.x}${node.x.y}\" } } } }", true)
	f.Fuzz(func(t *testing.T, src string, isHCL bool) {
		name := map[bool]string{true: "t.hcl", false: "t.yaml"}[isHCL]
		_, err := Parse(name, []byte(src), Vars{})
		var errs Errors
		if err != nil && (!errors.As(err, &errs) || len(errs) == 0 || errs[0].Message == "") {
			t.Fatalf("a fault without words: %#v", err)
		}
		_, again := Parse(name, []byte(src), Vars{})
		if (err == nil) != (again == nil) {
			t.Fatalf("first %v, then %v", err, again)
		}
	})
}
