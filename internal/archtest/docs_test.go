package archtest

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder, seen from this package's.
const root = "../.."

// filePath finds what reads like a file of the tree: at least one folder, and an ending that we use.
var filePath = regexp.MustCompile(`[a-z0-9_.]+(?:/[A-Za-z0-9_.-]+)+\.(?:go|c|h|md|hcl|yaml)\b`)

// TestDocumentsNameFilesThatExist reads every document and looks for each file that it names, from the
// root or, for a package's own document, from its folder.
func TestDocumentsNameFilesThatExist(t *testing.T) {
	named := 0
	for _, doc := range documents(t) {
		for _, path := range filePath.FindAllString(withoutURLs(read(t, doc)), -1) {
			named++
			if !exists(root, path) && !exists(filepath.Dir(doc), path) {
				t.Errorf("%s names %s, which does not exist", strings.TrimPrefix(doc, root+"/"), path)
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d files are named in all documents: the pattern finds nothing any more", named)
	}
}

var url = regexp.MustCompile(`https?://\S+|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:io|com|org|sh)/\S+`)

// withoutURLs drops what only looks like a file of ours.
func withoutURLs(text string) string { return url.ReplaceAllString(text, "") }

func exists(folder, path string) bool {
	_, err := os.Stat(filepath.Join(folder, path))
	return err == nil
}

// documents are README.md, all of docs/, and the DESIGN.md beside the packages.
func documents(t *testing.T) []string {
	t.Helper()
	out := []string{root + "/README.md"}
	walk(t, func(path string) {
		if strings.HasPrefix(path, root+"/docs/") && strings.HasSuffix(path, ".md") || filepath.Base(path) == "DESIGN.md" {
			out = append(out, path)
		}
	})
	return out
}

// TestEveryPackageSaysWhatItIs wants a package comment, and in doc.go, where people look for it.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 || p.ImportPath == module {
			continue
		}
		if p.Doc == "" || !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go with a package comment", p.ImportPath)
		}
	}
}

// numbers finds what a comment cites: "Invariant 10", "Invariants 1 and 2".
var numbers = regexp.MustCompile(`Invariants? (\d+(?:(?:, | and |, and )\d+)*)`)

var digits = regexp.MustCompile(`\d+`)

// TestCitedInvariantsExist holds the tests and docs/INVARIANTS.md together, in both directions.
func TestCitedInvariantsExist(t *testing.T) {
	listed := listedInvariants(t)
	walk(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		text := read(t, path)
		for _, m := range numbers.FindAllStringSubmatch(text, -1) {
			for _, n := range digits.FindAllString(m[1], -1) {
				if _, ok := listed[n]; !ok && !strings.Contains(path, "/archtest/") {
					t.Errorf("%s cites Invariant %s, which docs/INVARIANTS.md does not have", strings.TrimPrefix(path, root+"/"), n)
				}
			}
		}
	})
	for n, proof := range listed {
		for _, name := range testName.FindAllString(proof, -1) {
			if !cites(t, proof, name, n) {
				t.Errorf("docs/INVARIANTS.md says that %s proves invariant %s, but no such test cites it", name, n)
			}
		}
	}
}

var (
	testName = regexp.MustCompile(`Test\w+`)
	testFile = regexp.MustCompile("`([^`]+_test\\.go)`")
	row      = regexp.MustCompile(`^\| (\d+) \|.*\|([^|]+)\|$`)
)

// listedInvariants are the numbers of docs/INVARIANTS.md with the cell that says what proves them.
func listedInvariants(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(read(t, root+"/docs/INVARIANTS.md")))
	for lines.Scan() {
		m := row.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if _, twice := out[m[1]]; twice {
			t.Errorf("docs/INVARIANTS.md has the number %s twice", m[1])
		}
		out[m[1]] = m[2]
	}
	if len(out) == 0 {
		t.Fatal("docs/INVARIANTS.md lists nothing")
	}
	return out
}

// cites says whether one of the files that proof names has the test, with the number in its comment.
func cites(t *testing.T, proof, name, number string) bool {
	t.Helper()
	for _, f := range testFile.FindAllStringSubmatch(proof, -1) {
		before, _, found := strings.Cut(read(t, filepath.Join(root, f[1])), "\nfunc "+name+"(")
		if !found {
			continue
		}
		comment := before[strings.LastIndex(before, "\n\n")+1:]
		for _, m := range numbers.FindAllStringSubmatch(comment, -1) {
			for _, n := range digits.FindAllString(m[1], -1) {
				if n == number {
					return true
				}
			}
		}
	}
	return false
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// walk calls visit for every file of ours.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular():
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
