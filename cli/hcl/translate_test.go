package hcl

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const settings = `
variable "who" { type = string, default = "world" }
manifest "v1" "ConfigMap" "settings" { data = { greeting = "hello ${var.who}" } }
`

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTranslateForms(t *testing.T) {
	dir := t.TempDir()
	job := write(t, dir, "a.hcl", settings)
	plain := write(t, dir, "b.yaml", "apiVersion: v1\n")
	vars := write(t, dir, "vars.txt", "who = \"file\"\n")
	cases := []struct {
		name string
		args []string
		// want has TMP for a temporary file.
		want     []string
		greeting string
	}{
		{"short", []string{"p", "apply", "-f", job}, []string{"p", "apply", "-f", "TMP"}, "hello world"},
		{"long with equals", []string{"p", "apply", "--filename=" + job}, []string{"p", "apply", "--filename=TMP"}, "hello world"},
		{"short with equals", []string{"p", "diff", "-f=" + job}, []string{"p", "diff", "-f=TMP"}, "hello world"},
		{"attached", []string{"p", "diff", "-f" + job}, []string{"p", "diff", "-fTMP"}, "hello world"},
		{"list", []string{"p", "delete", "-f", plain + "," + job}, []string{"p", "delete", "-f", plain + ",TMP"}, "hello world"},
		{"directory", []string{"p", "apply", "-f", dir}, []string{"p", "apply", "-f", "TMP," + plain}, "hello world"},
		{"variable", []string{"p", "apply", "-var", "who=x", "-f", job}, []string{"p", "apply", "-f", "TMP"}, "hello x"},
		{"variable with equals", []string{"p", "apply", "--var=who=x", "-f", job}, []string{"p", "apply", "-f", "TMP"}, "hello x"},
		{"variable file", []string{"p", "apply", "-f", job, "-var-file=" + vars}, []string{"p", "apply", "-f", "TMP"}, "hello file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, cleanup, err := Translate(c.args)
			if err != nil {
				t.Fatal(err)
			}
			file := temporary(t, got)
			text, err := os.ReadFile(file) // #nosec G304 -- ours
			if err != nil || !strings.Contains(string(text), c.greeting) {
				t.Errorf("%v\n%s", err, text)
			}
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], file, "TMP")
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			cleanup()
			cleanup()
			if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
				t.Error("the temporary directory stays", err)
			}
		})
	}
}

// temporary finds our file among the arguments.
func temporary(t *testing.T, args []string) string {
	t.Helper()
	for _, a := range args {
		for _, part := range strings.FieldsFunc(a, func(r rune) bool { return r == ',' || r == '=' }) {
			part = strings.TrimPrefix(part, "-f")
			if strings.Contains(part, "peapod-hcl-") {
				return part
			}
		}
	}
	t.Fatalf("no temporary file in %q", args)
	return ""
}

func TestTranslateLeavesAlone(t *testing.T) {
	dir := t.TempDir()
	job := write(t, dir, "a.hcl", settings)
	for _, args := range [][]string{
		{"p"},
		{"p", "get", "pods"},
		{"p", "logs", "-f", "web-1"},
		{"p", "apply", "-f", "-"},
		{"p", "apply", "-f", "https://example.org/a.hcl"},
		{"p", "job", "run", job, "-var", "who=x"},
		{"p", "exec", "web", "--", "cat", "-f", job},
		{"p", "set", "env", "-var", "x"},
	} {
		got, cleanup, err := Translate(args)
		cleanup()
		if err != nil || !reflect.DeepEqual(got, args) {
			t.Errorf("%q became %q, %v", args, got, err)
		}
	}
}

func TestTranslateErrors(t *testing.T) {
	dir := t.TempDir()
	bad := write(t, dir, "bad.hcl", "manifst \"v1\" \"A\" \"b\" {}\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"p", "apply", "-f", bad}, `bad.hcl:1:1: unknown block`},
		{[]string{"p", "apply", "-f", filepath.Join(dir, "none.hcl")}, "no such file"},
		{[]string{"p", "apply", "-f", bad, "-var-file", "/none"}, "-var-file"},
		{[]string{"p", "apply", "-var"}, "needs a value"},
	} {
		_, cleanup, err := Translate(c.args)
		if cleanup == nil {
			t.Fatal("cleanup is nil")
		}
		cleanup()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.args, err)
		}
	}
}
