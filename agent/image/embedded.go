package image

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/internal/demo"
)

// Embedded describes an image whose only program is this executable under many names. Its one layer
// is no tar stream, so it has no blob; its diff ID is the hash of what identifies the content.
type Embedded struct {
	Names      []string // references it answers to
	Executable string   // its path on this machine
	Program    string   // its path in the image
	Links      []string // names in /bin that are the program too
	Entrypoint []string
	Files      map[string]string // small files by path
	Dirs       map[string]uint32 // directories by path with their mode
}

// Demo is the image peapod/demo: a small web server and the usual command line tools.
func Demo() *Embedded {
	return &Embedded{
		Names: []string{"peapod/demo:latest"}, Executable: "/proc/self/exe", Program: "/bin/peapod",
		Links: demo.Names(), Entrypoint: []string{"/bin/demo"},
		Files: map[string]string{
			"/etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
			"/etc/group":         "root:x:0:\nnogroup:x:65534:\n",
			"/etc/nsswitch.conf": "hosts: files dns\n",
			"/etc/os-release":    "ID=peapod\nNAME=Peapod\nPRETTY_NAME=\"Peapod demo image\"\n",
		},
		Dirs: map[string]uint32{
			"/bin": 0o755, "/etc": 0o755, "/root": 0o700, "/tmp": 0o1777, "/var": 0o755, "/var/run": 0o755,
			"/proc": 0o755, "/sys": 0o755, "/dev": 0o755, "/run": 0o755, "/usr": 0o755, "/home": 0o755,
		},
	}
}

// EnsureEmbedded makes the embedded image present under its names. It is quick: the executable is
// linked where the file systems allow it, and copied once otherwise.
func (s *Store) EnsureEmbedded(ctx context.Context) (*Image, error) {
	if s.embed == nil {
		return nil, errors.New("this image store has no embedded image")
	}
	var i *Image
	err := s.flights.do(ctx, "embedded", nil, func(context.Context, func(Progress)) (err error) {
		i, err = s.ensureEmbedded()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the embedded image: %w", err)
	}
	if i == nil { // another caller's run made it
		i, _ = s.Get(s.embed.Names[0])
	}
	return i, nil
}

func (s *Store) ensureEmbedded() (*Image, error) {
	exe, err := os.Open(s.embed.Executable)
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	st, err := exe.Stat()
	if err != nil {
		return nil, err
	}
	diffID, err := s.embed.diffID(exe, st)
	if err != nil {
		return nil, err
	}
	config, manifest, err := s.embed.documents(diffID, st.Size())
	if err != nil {
		return nil, err
	}
	defer s.pin([]string{diffID.Hex, sum(config), sum(manifest)})()
	if err := s.embeddedLayer(diffID, exe, st); err != nil {
		return nil, err
	}
	src := &source{manifest: manifest, config: config}
	for _, n := range s.embed.Names {
		c, err := Canonical(n)
		if err != nil {
			return nil, err
		}
		src.names = append(src.names, c)
	}
	return s.ingest(context.Background(), src, func(Progress) {})
}

// isEmbedded tells whether a canonical name is the embedded image's.
func (s *Store) isEmbedded(name string) bool {
	if s.embed == nil {
		return false
	}
	for _, n := range s.embed.Names {
		if c, err := Canonical(n); err == nil && c == name {
			return true
		}
	}
	return false
}

// diffID hashes what the layer holds without reading the whole executable: the linker's build ID
// stands for it, or, without one, its place and time.
func (e *Embedded) diffID(exe *os.File, st os.FileInfo) (v1.Hash, error) {
	id := buildID(exe)
	if id == "" {
		sys, ok := st.Sys().(*unix.Stat_t)
		id = st.ModTime().String()
		if ok {
			id = fmt.Sprint(id, sys.Dev, sys.Ino)
		}
	}
	// Maps print in key order.
	h := sha256.Sum256(fmt.Appendf(nil, "%q %d %v %v %v %v", id, st.Size(), e.Program, e.Links, e.Files, e.Dirs))
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h)}, nil
}

// buildID is the Go linker's note, "" if there is none.
func buildID(exe io.ReaderAt) string {
	f, err := elf.NewFile(exe)
	if err != nil {
		return ""
	}
	s := f.Section(".note.go.buildid")
	if s == nil {
		return ""
	}
	note, err := s.Data()
	if err != nil || len(note) < 16 {
		return ""
	}
	return string(note[16:])
}

func (e *Embedded) documents(diffID v1.Hash, size int64) (config, manifest []byte, err error) {
	config, err = json.Marshal(&v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS,
		Config: v1.Config{Env: []string{"PATH=/bin"}, Entrypoint: e.Entrypoint, WorkingDir: "/", ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffID}},
	})
	if err != nil {
		return nil, nil, err
	}
	manifest, err = json.Marshal(&v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config:      v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(config)), Digest: v1.Hash{Algorithm: "sha256", Hex: sum(config)}},
		Layers:      []v1.Descriptor{{MediaType: types.OCIUncompressedLayer, Size: size, Digest: diffID}},
		Annotations: map[string]string{embeddedAnnotation: "true"},
	})
	return config, manifest, err
}

// embeddedLayer builds the layer if it is not there whole: a linked executable needs no sync, but
// one that was copied just before a crash might be short.
func (s *Store) embeddedLayer(diffID v1.Hash, exe *os.File, st os.FileInfo) error {
	final := s.layerPath(diffID)
	if have, err := os.Stat(filepath.Join(final, s.embed.Program)); err == nil && have.Size() == st.Size() {
		return nil
	}
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(s.path("tmp"), "embedded-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := s.embed.build(tmp, exe, st); err != nil {
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}

func (e *Embedded) build(root string, exe *os.File, st os.FileInfo) error {
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	for dir, mode := range e.Dirs {
		p := filepath.Join(root, dir)
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
		if err := unix.Chmod(p, mode); err != nil {
			return err
		}
	}
	for name, content := range e.Files {
		if err := writeSynced(filepath.Join(root, name), content); err != nil {
			return err
		}
	}
	for _, l := range e.Links {
		if err := os.Symlink(e.Program, filepath.Join(root, "bin", l)); err != nil {
			return err
		}
	}
	return placeExecutable(filepath.Join(root, e.Program), exe, st)
}

func writeSynced(name, content string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

// placeExecutable links the running program: one copy on disk and in the page cache, whatever number
// of stores. Where that cannot be (another file system, a mode that other users cannot execute), it
// shares the blocks or copies.
func placeExecutable(to string, exe *os.File, st os.FileInfo) error {
	if st.Mode()&os.ModeSetuid == 0 && st.Mode().Perm()&0o555 == 0o555 {
		from := fmt.Sprintf("/proc/self/fd/%d", exe.Fd())
		if unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW) == nil {
			return nil
		}
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	if unix.IoctlFileClone(int(out.Fd()), int(exe.Fd())) != nil {
		if _, err := io.Copy(out, io.NewSectionReader(exe, 0, st.Size())); err != nil {
			return err
		}
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Chmod(0o755)
}
