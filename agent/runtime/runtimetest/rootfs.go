package runtimetest

import (
	"fmt"
	"os"
	"path/filepath"
)

// BusyboxLayer unpacks a small root file system into dir and returns it as an image layer. It needs a
// statically linked /bin/busybox.
func BusyboxLayer(dir string) (string, error) {
	const source = "/bin/busybox"
	program, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("the container tests need a static busybox: apt-get install -y busybox-static: %w", err)
	}
	for _, d := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tmp"), 0o1777); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), program, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"sh", "cat", "echo", "sleep", "id", "ls", "kill", "tty", "stty", "test", "grep", "head", "true", "false", "hostname", "touch", "seq", "ps", "yes", "dd", "readlink"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			return "", err
		}
	}
	return dir, nil
}
