package cinit

import (
	"debug/buildinfo"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/opencontainers/runc/libcontainer/exeseal"
)

// built has the program if it was built before this package. Its ignore file is always there, so that the pattern fits.
//
//go:embed all:built
var built embed.FS

// Open returns the program in a sealed file without a name, for /proc/PID/fd/N to be started, or nil if there is none that fits this binary.
// Nobody can write to the file, not even a container that finds its own first process to be running from it (CVE-2019-5736).
func Open(tmpDir string) (*os.File, error) {
	program, err := built.Open("built/cinit")
	if err != nil {
		return nil, nil // built without it
	}
	defer program.Close()
	info, err := program.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkBuild(program.(io.ReaderAt)); err != nil {
		return nil, err
	}
	f, err := exeseal.CloneBinary(program, info.Size(), "cinit", tmpDir)
	if err != nil {
		return nil, fmt.Errorf("writing the containers' first program: %w", err)
	}
	if !exeseal.IsCloned(f) {
		f.Close()
		return nil, errors.New("the containers' first program cannot be sealed: this kernel gives no memory files")
	}
	return f, nil
}

// checkBuild fails for a program that was left from an earlier state of the tree: it and the agent talk to each other in the words of libcontainer's version.
func checkBuild(program io.ReaderAt) error {
	theirs, err := buildinfo.Read(program)
	if err != nil {
		return fmt.Errorf("reading what the containers' first program was built of: %w", err)
	}
	ours, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	return fits(theirs, ours)
}

func fits(theirs, ours *debug.BuildInfo) error {
	for _, d := range theirs.Deps {
		if v := version(ours, d.Path); v != "" && v != d.Version {
			return fmt.Errorf("the containers' first program was built with %s %s, this one with %s: run make build", d.Path, d.Version, v)
		}
	}
	if a, b := setting(theirs, "-tags"), setting(ours, "-tags"); a != b {
		return fmt.Errorf("the containers' first program was built with the tags %q, this one with %q: run make build", a, b)
	}
	return nil
}

func version(b *debug.BuildInfo, module string) string {
	for _, d := range b.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return ""
}

func setting(b *debug.BuildInfo, key string) string {
	for _, s := range b.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
