package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// finder is what find looks for; every condition must hold.
type finder struct {
	conditions         []func(path string, st fs.FileInfo) bool
	actions            []func(path string) error
	depthMin, depthMax int
}

func find(c *call) int {
	var roots []string
	args := c.args
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && args[0] != "!" {
		roots, args = append(roots, args[0]), args[1:]
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	f := &finder{depthMax: 1 << 30}
	if err := f.parse(c, args); err != nil {
		return c.misuse("%v", err)
	}
	if len(f.actions) == 0 {
		f.actions = append(f.actions, func(p string) error { fmt.Fprintln(c.out, p); return nil })
	}
	code := 0
	for _, r := range roots {
		if err := f.walk(c, r, &code); err != nil {
			code = c.fail(err)
		}
	}
	return code
}

func (f *finder) parse(c *call, args []string) error {
	negate := false
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "!" || word == "-not" {
			negate = !negate
			continue
		}
		switch word {
		case "-print":
			f.actions = append(f.actions, func(p string) error { fmt.Fprintln(c.out, p); return nil })
			continue
		case "-print0":
			f.actions = append(f.actions, func(p string) error { fmt.Fprint(c.out, p, "\x00"); return nil })
			continue
		case "-delete":
			f.actions = append(f.actions, os.Remove)
			continue
		case "-exec":
			end := slices.IndexFunc(args, func(a string) bool { return a == ";" || a == "+" })
			if end < 1 {
				return errors.New("-exec needs a command that ends with ;")
			}
			command := args[:end]
			args = args[end+1:]
			f.actions = append(f.actions, func(p string) error { return f.exec(c, command, p) })
			continue
		case "-a", "-and", "-xdev", "-depth":
			continue
		}
		if len(args) == 0 && word != "-empty" {
			return fmt.Errorf("%s is not known, or needs a value", word)
		}
		value := ""
		if word != "-empty" {
			value, args = args[0], args[1:]
		}
		test, err := f.condition(word, value)
		if err != nil {
			return err
		}
		if test != nil {
			want := !negate
			f.conditions = append(f.conditions, func(p string, st fs.FileInfo) bool { return test(p, st) == want })
		}
		negate = false
	}
	return nil
}

// condition returns the test that a word means; nil for the depths, which are noted aside.
func (f *finder) condition(word, value string) (func(string, fs.FileInfo) bool, error) {
	switch word {
	case "-name", "-iname":
		return func(p string, _ fs.FileInfo) bool {
			name, pat := filepath.Base(p), value
			if word == "-iname" {
				name, pat = strings.ToLower(name), strings.ToLower(pat)
			}
			ok, _ := filepath.Match(pat, name) // a bad pattern matches nothing
			return ok
		}, nil
	case "-path":
		return func(p string, _ fs.FileInfo) bool { ok, _ := filepath.Match(value, p); return ok }, nil
	case "-type":
		kinds := map[string]fs.FileMode{"f": 0, "d": fs.ModeDir, "l": fs.ModeSymlink, "p": fs.ModeNamedPipe, "s": fs.ModeSocket, "b": fs.ModeDevice, "c": fs.ModeDevice | fs.ModeCharDevice}
		kind, ok := kinds[value]
		if !ok {
			return nil, fmt.Errorf("-type %s is not known", value)
		}
		return func(_ string, st fs.FileInfo) bool { return st.Mode().Type() == kind }, nil
	case "-empty":
		return func(p string, st fs.FileInfo) bool {
			if !st.IsDir() {
				return st.Size() == 0
			}
			e, err := os.ReadDir(p)
			return err == nil && len(e) == 0
		}, nil
	case "-maxdepth", "-mindepth":
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a number", word, value)
		}
		if word == "-maxdepth" {
			f.depthMax = n
		} else {
			f.depthMin = n
		}
		return nil, nil
	}
	return nil, fmt.Errorf("%s is not known", word)
}

func (f *finder) exec(c *call, command []string, p string) error {
	args := make([]string, len(command))
	for i, a := range command {
		args[i] = strings.ReplaceAll(a, "{}", p)
	}
	c.run(args)
	return nil
}

func (f *finder) walk(c *call, root string, code *int) error {
	base := strings.Count(filepath.Clean(root), "/")
	return filepath.Walk(root, func(p string, st fs.FileInfo, err error) error {
		if err != nil {
			*code = c.fail(err)
			return nil
		}
		depth := strings.Count(filepath.Clean(p), "/") - base
		if p != root && (root == "." || root == "/") {
			depth = strings.Count(strings.TrimPrefix(p, "/"), "/") + 1
		}
		if strings.HasPrefix(root, ".") && root == "." && p != "." {
			p = "./" + p
		}
		if depth >= f.depthMin && f.holds(p, st) {
			for _, a := range f.actions {
				if err := a(p); err != nil {
					*code = c.fail(err)
				}
			}
		}
		if st.IsDir() && depth >= f.depthMax {
			return fs.SkipDir
		}
		return nil
	})
}

func (f *finder) holds(p string, st fs.FileInfo) bool {
	for _, t := range f.conditions {
		if !t(p, st) {
			return false
		}
	}
	return true
}
