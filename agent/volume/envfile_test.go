package volume

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestEnvFiles(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       map[string]string
		fault      string
	}{
		{"empty", "", map[string]string{}, ""},
		{"comments and blanks", "\n # one\n\t\n#A='b'", map[string]string{}, ""},
		{"plain", "A='1'\nB='2'\n", map[string]string{"A": "1", "B": "2"}, ""},
		{"spaces", "  A \t= \t'1' \t\nB='2'", map[string]string{"A": "1", "B": "2"}, ""},
		{"literal", `A='$B \n "x" # y '`, map[string]string{"A": `$B \n "x" # y `}, ""},
		{"lines", "A='1\n\n2=3\n'\nB=''", map[string]string{"A": "1\n\n2=3\n", "B": ""}, ""},
		{"later", "A='1'\nA='2'", map[string]string{"A": "2"}, ""},
		{"windows", "A='1'\r\nB='2'\r\n", map[string]string{"A": "1", "B": "2"}, ""},
		{"bare", "A='1'\nB=2", nil, "line 2: the value of B must be in single quotes"},
		{"double", `A="1"`, nil, "line 1: the value of A must be in single quotes"},
		{"adjacent", `A='1''2'`, nil, "nothing may follow the closing quote of A"},
		{"expansion", `A='1'$B`, nil, "nothing may follow the closing quote of A"},
		{"comment after", `A='1' # no`, nil, "nothing may follow"},
		{"open", "A='1\nB=2\n", nil, "the value of A has no closing quote"},
		{"no value", "A='x\ny'\nexport\nB='1'", nil, "line 3: it must have the form VAR='value'"},
		{"no name", "='1'", nil, "a variable has no name"},
		{"control", "A\x01='1'", nil, "not printable ASCII"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseEnvFile([]byte(c.text))
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("error %v, want %q", err, c.fault)
				}
				return
			}
			if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// Whatever a container left in its volume is read within it, in no more than a moment, and no more than the limit.
func TestEnvKeyStaysInTheVolume(t *testing.T) {
	s := &Store{Root: t.TempDir()}
	dir := s.Dir("uid", "v")
	outside := filepath.Join(s.Root, "secret")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "d"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "d", "env"), []byte("A='1'"), 0o600))
	must(os.WriteFile(outside, []byte("A='stolen'"), 0o600))
	must(os.Symlink(outside, filepath.Join(dir, "out")))
	must(os.Symlink("d/env", filepath.Join(dir, "in")))
	must(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "large"), make([]byte, envFileMax+1), 0o600))
	for _, c := range []struct {
		path, key, want string
		found           bool
		fault           string
	}{
		{"d/env", "A", "1", true, ""},
		{"in", "A", "1", true, ""},
		{"d/env", "B", "", false, ""},
		{"none", "A", "", false, ""},
		{"out", "A", "", false, "reading the file of variables v/out"},
		{"../../../secret", "A", "", false, "reading the file"},
		{"pipe", "A", "", false, "it is no regular file"},
		{"d", "A", "", false, "it is no regular file"},
		{"large", "A", "", false, "it is larger than 65536 bytes"},
	} {
		got, found, err := s.EnvKey("uid", "v", c.path, c.key)
		if got != c.want || found != c.found || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %q, %v, %v; want %q, %v, %q", c.path, got, found, err, c.want, c.found, c.fault)
		}
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("A='1'\n# x\nB = 'a\nb'\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := parseEnvFile(b)
		if err != nil {
			return
		}
		var text strings.Builder
		for k, v := range values {
			text.WriteString(k + "='" + v + "'\n")
		}
		again, err := parseEnvFile([]byte(text.String()))
		if err != nil || !maps.Equal(values, again) {
			t.Fatalf("%q became %q, %v", values, again, err)
		}
	})
}
