package kit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Root is the top of the source tree.
var Root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "jobspecs")); err == nil {
			return dir
		}
	}
	panic("these tests run inside Peapod's source tree only")
})

// Peapod is the binary under test. PEAPOD names another one than that of `make build`.
var Peapod = sync.OnceValue(func() string {
	if p := os.Getenv("PEAPOD"); p != "" {
		return p
	}
	return built(filepath.Join(Root(), "peapod"), Root(), "make", "build")
})

// KubectlPath is the unmodified client.
var KubectlPath = sync.OnceValue(func() string {
	file := filepath.Join(Root(), "bin", "kubectl")
	return built(file, Root(), "make", "kubectl")
})

// ClientPath is an unmodified client of e2e/clients: helm3, helm4, kustomize, stern, or the operator of its tests.
func ClientPath(name string) string {
	return built(filepath.Join(Root(), "bin", name), Root(), "make", "clients")
}

// built makes file by the command if it is missing.
func built(file, dir string, command ...string) string {
	if _, err := os.Stat(file); err == nil {
		return file
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building %s: %v\n%s", file, err, out))
	}
	return file
}
