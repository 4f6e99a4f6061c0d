package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// hub is a registry on loopback that stands in for docker.io.
type hub struct {
	*httptest.Server
	blobs  atomic.Int64            // GETs of blobs
	refuse func(*http.Request) int // a status instead of an answer, 0 to answer
	ranges []string                // Range headers of the GETs of blobs
	mu     sync.Mutex
	cut    int64 // the blob request, counted from 1, that breaks off in the middle
}

func newHub(t testing.TB) *hub {
	h := &hub{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.refuse != nil {
			if code := h.refuse(r); code != 0 {
				w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
				w.WriteHeader(code)
				return
			}
		}
		if r.Method == "GET" && strings.Contains(r.URL.Path, "/blobs/") {
			h.note(r)
			if h.blobs.Add(1) == h.cut {
				w = &severed{w, 500}
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

// severed is an answer that breaks off after some bytes.
type severed struct {
	http.ResponseWriter
	left int
}

func (s *severed) Write(b []byte) (int, error) {
	n, err := s.ResponseWriter.Write(b[:min(len(b), s.left)])
	if s.left -= n; s.left == 0 {
		s.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func (h *hub) push(t testing.TB, repo string, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(h.URL, "http://")+"/"+repo, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
}

func (h *hub) note(r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ranges = append(h.ranges, r.Header.Get("Range"))
}

func (h *hub) options() Options {
	return Options{Mirrors: map[string][]Mirror{"*": {{URL: h.URL}}}}
}

func forHere(t *testing.T, img v1.Image) v1.Image {
	t.Helper()
	c := must[*v1.ConfigFile](t)(img.ConfigFile())
	c = c.DeepCopy()
	c.OS, c.Architecture = platform.OS, platform.Architecture
	c.Config.Env, c.Config.Entrypoint, c.Config.User = []string{"A=b"}, []string{"/bin/x"}, "7:8"
	return must[v1.Image](t)(mutate.ConfigFile(img, c))
}

func TestPullThroughAMirror(t *testing.T) {
	h := newHub(t)
	img := forHere(t, randomImage(t, 4))
	h.push(t, "library/nginx:1.12", img)
	s := open(t, t.TempDir(), h.options())
	var phases []Phase
	i := must[*Image](t)(s.Pull(context.Background(), "nginx:1.12", nil, func(p Progress) { phases = append(phases, p.Phase) }))
	if i.ID != must[v1.Hash](t)(img.ConfigName()).String() || len(i.Layers) != 4 || i.Env[0] != "A=b" || i.Entrypoint[0] != "/bin/x" {
		t.Errorf("pulled %+v", i)
	}
	digest := must[v1.Hash](t)(img.Digest()).String()
	for _, ref := range []string{"nginx:1.12", "docker.io/library/nginx:1.12", "nginx@" + digest, digest, i.ID, i.ID[7:20]} {
		if got, ok := s.Get(ref); !ok || got.ID != i.ID {
			t.Errorf("Get(%q) finds nothing", ref)
		}
	}
	if i.RepoDigest() != "docker.io/library/nginx@"+digest || phases[0] != Resolving || phases[len(phases)-1] != Done {
		t.Errorf("digest %s, phases %v", i.RepoDigest(), phases)
	}
	before := h.blobs.Load()
	must[*Image](t)(s.Pull(context.Background(), "nginx:1.12", nil, nil))
	if n := h.blobs.Load() - before; n > 1 { // the configuration
		t.Errorf("pulling again fetched %d blobs", n)
	}
}

func TestConcurrentPullsAreOne(t *testing.T) {
	h := newHub(t)
	h.push(t, "library/a:1", forHere(t, randomImage(t, 5)))
	s := open(t, t.TempDir(), h.options())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := s.Pull(context.Background(), "a:1", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := h.blobs.Load(); n > 5+10 { // each layer once; late comers may read the configuration
		t.Errorf("%d blobs fetched", n)
	}
}

func TestPullGoesOnAfterABrokenConnection(t *testing.T) {
	h := newHub(t)
	h.push(t, "library/a:1", forHere(t, randomImage(t, 1)))
	s := open(t, t.TempDir(), h.options())
	h.cut = 2 // the first is the configuration
	if _, err := s.Pull(context.Background(), "a:1", nil, nil); err != nil {
		t.Fatal(err)
	}
	if n := h.blobs.Load(); n != 3 {
		t.Errorf("%d blobs fetched, want the configuration and the layer twice", n)
	}
	if got := h.ranges[2]; !strings.HasPrefix(got, "bytes=500-") {
		t.Errorf("the second request asks for %q, want what is missing", got)
	}
}

func TestPullSaysWhatIsWrong(t *testing.T) {
	h := newHub(t)
	s := open(t, t.TempDir(), h.options())
	_, err := s.Pull(context.Background(), strings.TrimPrefix(h.URL, "http://")+"/none:1", nil, nil)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "check the name") {
		t.Errorf("404: %v", err)
	}
	h.refuse = func(*http.Request) int { return http.StatusUnauthorized }
	_, err = s.Pull(context.Background(), strings.TrimPrefix(h.URL, "http://")+"/secret:1", nil, nil)
	if !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "imagePullSecrets") {
		t.Errorf("401: %v", err)
	}
	_, err = s.Pull(context.Background(), "127.0.0.1:1/a", nil, nil)
	if err == nil {
		t.Error("an unreachable registry gave an image")
	}
	alone := open(t, t.TempDir(), Options{})
	_, err = alone.Pull(context.Background(), "127.0.0.1:1/a", nil, nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "configure a mirror") {
		t.Errorf("no route: %v", err)
	}
	_, err = s.Pull(context.Background(), "UPPER:case:1", nil, nil)
	if !errors.Is(err, ErrReference) {
		t.Errorf("bad reference: %v", err)
	}
}

func TestPullWithCredentials(t *testing.T) {
	h := newHub(t)
	h.push(t, "team/app:1", forHere(t, randomImage(t, 1)))
	h.refuse = func(r *http.Request) int {
		if u, p, _ := r.BasicAuth(); u == "bob" && p == "pwd" {
			return 0
		}
		return http.StatusUnauthorized
	}
	host := strings.TrimPrefix(h.URL, "http://")
	auths := must[[]authn.Authenticator](t)(Credentials(host+"/team/app:1",
		[]byte(`{"auths":{"`+host+`":{"username":"eve","password":"x"},"https://`+host+`/team":{"auth":"Ym9iOnB3ZA=="}}}`)))
	if len(auths) != 2 {
		t.Fatalf("%d credentials", len(auths))
	}
	s := open(t, t.TempDir(), Options{})
	if _, err := s.Pull(context.Background(), host+"/team/app:1", auths, nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Pull(context.Background(), host+"/team/app:1", nil, nil); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("without credentials: %v", err)
	}
}

func TestRemoveKeepsSharedLayersAndWhatIsInUse(t *testing.T) {
	base := randomImage(t, 2)
	a, b := forHere(t, base), must[v1.Image](t)(mutate.Config(forHere(t, base), v1.Config{User: "other"}))
	h := newHub(t)
	h.push(t, "library/a:1", a)
	h.push(t, "library/b:1", b)
	s := open(t, t.TempDir(), h.options())
	ia := must[*Image](t)(s.Pull(context.Background(), "a:1", nil, nil))
	ib := must[*Image](t)(s.Pull(context.Background(), "b:1", nil, nil))
	if err := s.Remove(ia.ID, []string{"a:1"}); !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	if err := s.Remove(ia.ID, nil); err != nil {
		t.Fatal(err)
	}
	for _, l := range ib.Layers {
		if _, err := os.Stat(l); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove(ib.ID, nil); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"layers", "blobs/sha256", "tmp"} {
		if left := must[[]os.DirEntry](t)(os.ReadDir(s.path(d))); len(left) != 0 {
			t.Errorf("%s still has %v", d, left)
		}
	}
}

// TestOpenClearsWhatACrashLeft: Invariant 27.
func TestOpenClearsWhatACrashLeft(t *testing.T) {
	at := t.TempDir()
	s := open(t, at, Options{})
	must[[]*Image](t)(s.Load(context.Background(), bytes.NewReader(dockerArchive(t, "a:1", randomImage(t, 1)))))
	s.Close()
	half := strings.Repeat("ab", 32)
	for _, d := range []string{"layers/" + half, "tmp/layer-1"} {
		if err := os.MkdirAll(filepath.Join(at, d, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, at, Options{})
	if exists(s.path("layers", half)) || exists(s.path("tmp/layer-1")) {
		t.Error("half-made directories survive")
	}
	i, ok := s.Get("a:1")
	if !ok {
		t.Fatal("the finished image is gone")
	}
	if _, err := Open(at, Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second store: %v", err)
	}
	s.Close()
	if err := os.RemoveAll(i.Layers[0]); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, at, Options{}).Get("a:1"); ok {
		t.Error("an image without its layer is offered")
	}
}

func TestLoadOCIArchive(t *testing.T) {
	img := forHere(t, randomImage(t, 2))
	at := t.TempDir()
	p := must[layout.Path](t)(layout.Write(at, empty.Index))
	if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{nameAnnotation: "docker.io/library/o:1"})); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := errors.Join(w.AddFS(os.DirFS(at)), w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	s := open(t, t.TempDir(), Options{})
	got := must[[]*Image](t)(s.Load(context.Background(), &b))
	if len(got) != 1 || got[0].Digest != must[v1.Hash](t)(img.Digest()).String() || got[0].Names[0] != "docker.io/library/o:1" {
		t.Errorf("loaded %+v", got)
	}
	if _, err := s.Load(context.Background(), strings.NewReader("nonsense")); err == nil {
		t.Error("nonsense was loaded")
	}
}

func TestImportRootfsAndUsers(t *testing.T) {
	at := t.TempDir()
	for name, body := range map[string]string{"usr/passwd": "root:x:0:0::/:\nbob:x:1000:100::/:\n", "etc/group": "users:x:100:\nextra:x:7:bob\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(at, name)), 0o755), os.WriteFile(filepath.Join(at, name), []byte(body), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/usr/passwd", at+"/etc/passwd"); err != nil {
		t.Fatal(err)
	}
	s := open(t, t.TempDir(), Options{})
	got := must[[]*Image](t)(s.ImportRootfs(context.Background(), at, "my/root:1", Config{User: "bob", Cmd: []string{"/x"}}))
	i := got[0]
	for spec, want := range map[string][2]uint32{"": {1000, 100}, "bob": {1000, 100}, "root": {0, 0}, "5": {5, 0}, "5:6": {5, 6}, "bob:extra": {1000, 7}} {
		uid, gid, _, err := i.ResolveUser(spec)
		if err != nil || [2]uint32{uid, gid} != want {
			t.Errorf("%q is %d:%d, %v; want %v", spec, uid, gid, err, want)
		}
	}
	if _, _, groups, _ := i.ResolveUser("bob"); len(groups) == 0 || groups[0] != 7 {
		t.Errorf("bob's groups are %v", groups)
	}
	if _, _, _, err := i.ResolveUser("nobody-here"); err == nil {
		t.Error("an unknown user was resolved")
	}
}
