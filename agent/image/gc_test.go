package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// library is a store with images a:1, b:1 and so on, of which each was used a minute after the one before.
func library(t *testing.T, names ...string) (*Store, map[string]*Image, *time.Time) {
	t.Helper()
	h := newHub(t)
	s := open(t, t.TempDir(), h.options())
	now := time.Unix(1_000_000, 0)
	s.now = func() time.Time { return now }
	images := map[string]*Image{}
	for _, n := range names {
		h.push(t, "library/"+n, forHere(t, randomImage(t, 2)))
		now = now.Add(time.Minute)
		images[n] = must[*Image](t)(s.Pull(context.Background(), n, nil, nil))
		s.Used(images[n])
	}
	return s, images, &now
}

func remaining(s *Store) []string {
	var out []string
	for _, i := range s.List() {
		for _, n := range i.Names {
			if !strings.Contains(n, "@") {
				out = append(out, strings.TrimPrefix(n, "docker.io/library/"))
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestGCTakesTheLongestUnusedUntilThereIsRoom(t *testing.T) {
	s, images, now := library(t, "a:1", "b:1", "c:1", "d:1")
	*now = now.Add(time.Hour)
	s.Used(images["a:1"])
	*now = now.Add(time.Hour)
	got := must[Reclaimed](t)(s.GC(context.Background(), Reclaim{Bytes: 1, Used: []string{"c:1"}, MinAge: time.Minute}))
	if len(got.Images) != 1 || got.Images[0] != images["b:1"].ID || got.Bytes <= 0 {
		t.Errorf("collected %+v, want b:1, which nobody has used for the longest time", got)
	}
	got = must[Reclaimed](t)(s.GC(context.Background(), Reclaim{Bytes: 1 << 40, Used: []string{images["c:1"].RepoDigest()}, MinAge: time.Minute}))
	if left := remaining(s); !slices.Equal(left, []string{"c:1"}) {
		t.Errorf("%v are left, want what is in use; collected %+v", left, got)
	}
	for _, l := range images["c:1"].Layers {
		if !exists(l) {
			t.Error("a layer in use is gone")
		}
	}
	for _, l := range images["d:1"].Layers {
		if exists(l) {
			t.Error("an unused layer is still there")
		}
	}
}

func TestGCRespectsAges(t *testing.T) {
	s, images, now := library(t, "old:1", "new:1")
	*now = now.Add(time.Hour)
	s.Used(images["new:1"])
	*now = now.Add(time.Minute)
	must[Reclaimed](t)(s.GC(context.Background(), Reclaim{Bytes: 1 << 40, MinAge: 2 * time.Hour}))
	if left := remaining(s); len(left) != 2 {
		t.Errorf("%v are left, none was old enough", left)
	}
	must[Reclaimed](t)(s.GC(context.Background(), Reclaim{MinAge: time.Second, MaxAge: 30 * time.Minute}))
	if left := remaining(s); !slices.Equal(left, []string{"new:1"}) {
		t.Errorf("%v are left, want what is not too old", left)
	}
}

func TestGCKeepsTheEmbeddedImageAndWhatIsOnItsWay(t *testing.T) {
	s := open(t, t.TempDir(), Options{Embedded: Demo()})
	i := must[*Image](t)(s.EnsureEmbedded(context.Background()))
	on, off := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	for _, hex := range []string{on, off} {
		if err := os.WriteFile(s.path("partial", hex), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unpin := s.pin([]string{on})
	defer unpin()
	must[Reclaimed](t)(s.GC(context.Background(), Reclaim{Bytes: 1 << 40}))
	if _, ok := s.Get(i.ID); !ok {
		t.Error("the embedded image is gone")
	}
	if !exists(s.path("partial", on)) || exists(s.path("partial", off)) {
		t.Error("a download under way is gone, or one that nobody goes on with is not")
	}
}

// TestRemoveAsksWhoUsesWhileItHoldsTheStore: what is in use is told as references, which the store itself resolves.
func TestRemoveRefusesWhatIsInUseByAnyName(t *testing.T) {
	s, images, _ := library(t, "a:1")
	for _, used := range []string{"a:1", "docker.io/library/a:1", images["a:1"].ID, images["a:1"].RepoDigest()} {
		if err := s.Remove(images["a:1"].ID, []string{"other", used}); !errors.Is(err, ErrInUse) {
			t.Errorf("in use as %s: %v", used, err)
		}
	}
}

// killedVariable makes this test binary a process that pulls and collects until it is killed: DIRECTORY MIRROR.
const killedVariable = "PEAPOD_TEST_KILLED"

func TestKilledChild(t *testing.T) {
	job := os.Getenv(killedVariable)
	if job == "" {
		t.Skip("this is the child of TestStoreIsRightAfterAKill")
	}
	dir, url, _ := strings.Cut(job, " ")
	s := open(t, dir, Options{Mirrors: map[string][]Mirror{"*": {{URL: url}}}})
	fmt.Println("open")
	for n := 0; ; n++ {
		for _, ref := range []string{"a:1", "b:1"} {
			if _, err := s.Pull(context.Background(), ref, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.GC(context.Background(), Reclaim{Bytes: 1 << 40, Used: []string{[]string{"a:1", "b:1", "none"}[n%3]}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoreIsRightAfterAKill: Invariant 27, at whatever moment of a pull, of unpacking or of a collection.
func TestStoreIsRightAfterAKill(t *testing.T) {
	h := newHub(t)
	base := randomImage(t, 3)
	h.push(t, "library/a:1", forHere(t, base))
	h.push(t, "library/b:1", forHere(t, randomImage(t, 3)))
	dir := t.TempDir()
	whole, within := 0, 40*time.Millisecond
	for round := range 25 {
		if whole == 0 && round%5 == 4 { // a busy machine: it comes to nothing in that time
			within *= 2
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=TestKilledChild$")
		cmd.Env = append(os.Environ(), killedVariable+"="+dir+" "+h.URL)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out := must[interface{ Read([]byte) (int, error) }](t)(cmd.StdoutPipe())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 64)); err != nil { // it has opened the store
			t.Fatal(err)
		}
		time.Sleep(rand.N(within))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		whole += wholeImages(t, dir)
	}
	if whole == 0 {
		t.Error("no kill left a whole image: the test proves nothing")
	}
	s := open(t, dir, h.options())
	must[*Image](t)(s.Pull(context.Background(), "a:1", nil, nil))
}

// wholeImages opens what a killed process left and verifies all that it claims to have.
func wholeImages(t *testing.T, dir string) int {
	t.Helper()
	s := must[*Store](t)(Open(dir, Options{}))
	defer s.Close()
	all := s.List()
	for _, i := range all {
		for _, hex := range i.blobs {
			b, err := os.ReadFile(s.path("blobs", "sha256", hex))
			if err != nil || sum(b) != hex {
				t.Fatalf("blob %s of %v: %v", hex, i.Names, err)
			}
		}
		for _, l := range i.Layers {
			if entries, err := os.ReadDir(l); err != nil || len(entries) == 0 {
				t.Fatalf("layer %s of %v: %v", l, i.Names, err)
			}
		}
		if s.rights.Images[i.ID] == nil {
			t.Fatalf("%v was pulled, and nobody knows for whom", i.Names)
		}
	}
	for _, d := range []string{"layers", "blobs/sha256"} {
		for _, e := range must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(dir, d))) {
			if !s.referenced()[e.Name()] {
				t.Fatalf("%s/%s belongs to nobody", d, e.Name())
			}
		}
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(dir, "tmp"))); len(left) > 0 {
		t.Fatalf("tmp has %v", left)
	}
	return len(all)
}

func TestDownloadGoesOnInTheNextLife(t *testing.T) {
	h := newHub(t)
	img := forHere(t, randomImage(t, 1))
	h.push(t, "library/a:1", img)
	dir := t.TempDir()
	layers := must[[]byte](t)(img.RawManifest())
	m := must[*manifestLike](t)(readManifest(layers))
	s := open(t, dir, h.options())
	half := must[[]byte](t)(readLayer(img))[:700]
	if err := os.WriteFile(s.path("partial", m.layer), half, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir, h.options())
	must[*Image](t)(s.Pull(context.Background(), "a:1", nil, nil))
	if got := h.ranges[len(h.ranges)-1]; !strings.HasPrefix(got, "bytes=700-") {
		t.Errorf("the layer was asked for with range %q", got)
	}
	if exists(s.path("partial", m.layer)) {
		t.Error("the beginning is still there")
	}
}

func TestDamageIsFoundAndFetchedAgain(t *testing.T) {
	h := newHub(t)
	img := forHere(t, randomImage(t, 1))
	h.push(t, "library/a:1", img)
	m := must[*manifestLike](t)(readManifest(must[[]byte](t)(img.RawManifest())))
	spoilt := bytes.Clone(must[[]byte](t)(readLayer(img)))
	spoilt[len(spoilt)/2] ^= 4
	for name, path := range map[string]string{"a blob on the disk": "blobs/sha256", "the beginning of a download": "partial"} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), h.options())
			if err := os.WriteFile(s.path(path, m.layer), spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			i := must[*Image](t)(s.Pull(context.Background(), "a:1", nil, nil))
			if b := must[[]byte](t)(os.ReadFile(s.path("blobs/sha256", m.layer))); sum(b) != m.layer {
				t.Error("the blob is still damaged")
			}
			if !exists(i.Layers[0]) {
				t.Error("there is no layer")
			}
		})
	}
}

func TestFullDiskIsSaidAndLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("cannot mount a tmpfs: ", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	h := newHub(t)
	h.push(t, "library/a:1", forHere(t, bigImage(t, 1<<20)))
	h.push(t, "library/small:1", forHere(t, randomImage(t, 1)))
	s, err := Open(dir, h.options())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Pull(context.Background(), "a:1", nil, nil); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "the disk of "+dir+" is full") {
		t.Errorf("the error is %v", err)
	}
	for _, d := range []string{"partial", "tmp", "layers", "blobs/sha256"} {
		if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(dir, d))); len(left) > 0 {
			t.Errorf("%s has %v", d, left)
		}
	}
	must[*Image](t)(s.Pull(context.Background(), "small:1", nil, nil)) // there is room for this one
}
