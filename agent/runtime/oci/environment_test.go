package oci

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onDisk are the files below a directory that have a text and outlive the machine.
func onDisk(t *testing.T, dir, text string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if memory, err := isMemory(path); err != nil || memory {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEnvironmentIsNotOnDisk: no value of a Secret that a container has in its environment is on the node's disk, yet commands of a later
// agent have it. What an older version wrote goes when a newer one takes up the container.
func TestEnvironmentIsNotOnDisk(t *testing.T) {
	const secret = "hunter2-in-no-file"
	n := newNode(t)
	if memory, err := isMemory(n.dir); err != nil || memory {
		t.Skipf("%s is in memory as a whole (%v)", n.dir, err)
	}
	check := func(e *Executor, when string) {
		t.Helper()
		if got, _ := n.exec(e, "c", "sh", "-c", "echo $WORD"); !strings.HasPrefix(got, secret) {
			t.Errorf("%s: a command has the word %q", when, got)
		}
		if found := onDisk(t, n.dir, secret); len(found) > 0 {
			t.Errorf("%s: the secret is in %v", when, found)
		}
	}
	e := n.open()
	spec := n.spec("p", "c", "sleep 1000")
	spec.Env = append(spec.Env, "WORD="+secret)
	n.start(e, "p", spec)
	check(e, "at first")
	old := e.containers["c"].record
	e.Close()
	e = n.open()
	check(e, "after a restart")
	e.Close()
	if err := writeJSON(filepath.Join(e.containerDir("c"), "container.json"), &old); err != nil {
		t.Fatal(err)
	}
	if len(onDisk(t, n.dir, secret)) == 0 {
		t.Fatal("nothing is found where an older version wrote it")
	}
	if err := e.dropEnv("c"); err != nil { // which an older version did not have
		t.Fatal(err)
	}
	e = n.open()
	check(e, "after an upgrade")
	if err := e.RemoveSandbox(context.Background(), "p"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.envDir()); !os.IsNotExist(err) {
		t.Errorf("the place for environments stays: %v", err)
	}
}
