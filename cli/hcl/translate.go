package hcl

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/jobspecs"
)

// Translate replaces every HCL file that a kubectl-like command line names with -f, --filename or
// within a directory named so by a temporary YAML file. It also takes out -var NAME=VALUE and
// -var-file FILE, which give values to the files' variables; if no HCL file is named, or the command is
// one of `job`, which reads HCL itself, the arguments stay as they are. What follows "--" is another
// program's.
//
// cleanup removes the temporary files; it is never nil and may be called often.
func Translate(args []string) (newArgs []string, cleanup func(), err error) {
	t := &translation{}
	if ownCommand(args) {
		return args, t.remove, nil
	}
	rest := t.takeVars(args)
	if t.err != nil {
		return nil, t.remove, t.err
	}
	out, err := t.arguments(rest)
	if err != nil {
		t.remove()
		return nil, t.remove, err
	}
	if !t.found {
		return args, t.remove, nil
	}
	return out, t.remove, nil
}

// ownCommand tells the command that reads HCL by itself; its name comes before every flag or after
// flags with "=" only, as nobody writes it otherwise.
func ownCommand(args []string) bool {
	for _, a := range args[min(1, len(args)):] {
		if !strings.HasPrefix(a, "-") {
			return a == "job"
		}
	}
	return false
}

// translation is one command line's work.
type translation struct {
	vars  jobspecs.Vars
	dir   string
	count int
	found bool
	err   error
}

func (t *translation) remove() {
	if t.dir == "" {
		return
	}
	_ = os.RemoveAll(t.dir) // a temporary directory that stays is the system's to clean
	t.dir = ""
}

// takeVars collects -var and -var-file, with one dash or two, and returns the other arguments.
func (t *translation) takeVars(args []string) (rest []string) {
	t.vars = jobspecs.Vars{Environ: os.Environ(), Lax: true}
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(rest, args[i:]...)
		}
		name, value, attached := varFlag(args[i])
		if name == "" {
			rest = append(rest, args[i])
			continue
		}
		if !attached {
			if i++; i == len(args) {
				t.err = fmt.Errorf("-%s needs a value", name)
				return nil
			}
			value = args[i]
		}
		t.take(name, value)
	}
	return rest
}

func varFlag(arg string) (name, value string, attached bool) {
	for _, name := range []string{"var", "var-file"} {
		for _, dashes := range []string{"--", "-"} {
			if arg == dashes+name {
				return name, "", false
			}
			if v, ok := strings.CutPrefix(arg, dashes+name+"="); ok {
				return name, v, true
			}
		}
	}
	return "", "", false
}

func (t *translation) take(name, value string) {
	if name == "var" {
		t.vars.Values = append(t.vars.Values, value)
		return
	}
	src, err := os.ReadFile(value) // #nosec G304 -- the user names it
	if err != nil {
		t.err = fmt.Errorf("reading -var-file: %w", err)
		return
	}
	t.vars.Files = append(t.vars.Files, jobspecs.VarFile{Name: value, Source: src})
}

// arguments replaces the values of -f in all the forms that kubectl takes.
func (t *translation) arguments(args []string) (out []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return append(out, args[i:]...), nil
		case (a == "-f" || a == "--filename") && i+1 < len(args):
			i++
			v, err := t.list(args[i])
			if err != nil {
				return nil, err
			}
			out = append(out, a, v)
		case strings.HasPrefix(a, "--filename=") || isShortFile(a):
			prefix := shortPrefix(a)
			v, err := t.list(a[len(prefix):])
			if err != nil {
				return nil, err
			}
			out = append(out, prefix+v)
		default:
			out = append(out, a)
		}
	}
	return out, nil
}

// isShortFile knows -fFILE and -f=FILE; only a value with an HCL file or directory changes anything.
func isShortFile(a string) bool { return strings.HasPrefix(a, "-f") && len(a) > 2 }

func shortPrefix(a string) string {
	for _, p := range []string{"--filename=", "-f="} {
		if strings.HasPrefix(a, p) {
			return p
		}
	}
	return "-f"
}

// list replaces within a comma-separated list of files.
func (t *translation) list(value string) (string, error) {
	names := strings.Split(value, ",")
	var out []string
	for _, name := range names {
		replaced, err := t.name(name)
		if err != nil {
			return "", err
		}
		out = append(out, replaced...)
	}
	return strings.Join(out, ","), nil
}

// name replaces a file, or a directory with HCL files in it by the files that kubectl would read.
func (t *translation) name(name string) ([]string, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return t.directory(name)
	case !jobspecs.IsHCL(name) || strings.Contains(name, "://"):
		return []string{name}, nil
	case err != nil:
		return nil, fmt.Errorf("reading a job file: %w", err)
	}
	file, err := t.file(name)
	return []string{file}, err
}

// kubectlReads are the endings that kubectl takes from a directory.
var kubectlReads = []string{".json", ".yaml", ".yml"}

func (t *translation) directory(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading a directory of job files: %w", err)
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() && jobspecs.IsHCL(e.Name()) }) {
		return []string{dir}, nil
	}
	var out []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
		case jobspecs.IsHCL(e.Name()):
			file, err := t.file(path)
			if err != nil {
				return nil, err
			}
			out = append(out, file)
		case slices.Contains(kubectlReads, filepath.Ext(e.Name())):
			out = append(out, path)
		}
	}
	return out, nil
}

// file writes the objects of one HCL file as YAML that only the user can read, for it may hold secrets.
func (t *translation) file(name string) (string, error) {
	src, err := os.ReadFile(name) // #nosec G304 -- the user names it
	if err != nil {
		return "", fmt.Errorf("reading a job file: %w", err)
	}
	spec, err := jobspecs.Parse(name, src, t.vars)
	if err != nil {
		return "", err
	}
	for _, w := range spec.Warnings {
		fmt.Fprintf(os.Stderr, "Warning: %s: %s\n", name, w)
	}
	var text bytes.Buffer
	for _, u := range spec.Objects {
		y, err := yaml.Marshal(u.Object)
		if err != nil {
			return "", fmt.Errorf("writing %s as YAML: %w", name, err)
		}
		text.WriteString("---\n")
		text.Write(y)
	}
	if t.dir == "" {
		if t.dir, err = os.MkdirTemp("", "peapod-hcl-"); err != nil {
			return "", fmt.Errorf("making room for the YAML: %w", err)
		}
	}
	t.count, t.found = t.count+1, true
	out := filepath.Join(t.dir, fmt.Sprintf("%02d-%s.yaml", t.count, strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))))
	if err := os.WriteFile(out, text.Bytes(), 0o600); err != nil {
		return "", fmt.Errorf("writing %s as YAML: %w", name, err)
	}
	return out, nil
}
