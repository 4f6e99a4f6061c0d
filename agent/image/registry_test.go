package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// manifestLike is what tests want of a manifest.
type manifestLike struct{ layer string } // HEX of the first

func readManifest(raw []byte) (*manifestLike, error) {
	var m v1.Manifest
	err := json.Unmarshal(raw, &m)
	return &manifestLike{m.Layers[0].Digest.Hex}, err
}

func readLayer(img v1.Image) ([]byte, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	r, err := layers[0].Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func bigImage(t *testing.T, size int64) v1.Image {
	t.Helper()
	return must[v1.Image](t)(random.Image(size, 1))
}

func TestBusyRegistryIsWaitedFor(t *testing.T) {
	h := newHub(t)
	h.push(t, "library/a:1", forHere(t, randomImage(t, 1)))
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusInternalServerError} {
		var refused atomic.Int32
		h.refuse = func(r *http.Request) int {
			if strings.Contains(r.URL.Path, "/manifests/") && refused.Add(1) <= 2 {
				return code
			}
			return 0
		}
		s := open(t, t.TempDir(), h.options())
		if _, err := s.Pull(context.Background(), "a:1", nil, nil); err != nil {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestRegistryWithoutHEADIsAskedInFull(t *testing.T) {
	h := newHub(t)
	img := forHere(t, randomImage(t, 1))
	h.push(t, "library/a:1", img)
	h.refuse = func(r *http.Request) int {
		if r.Method == http.MethodHead {
			return http.StatusMethodNotAllowed
		}
		return 0
	}
	s := open(t, t.TempDir(), h.options())
	for range 2 {
		must[*Image](t)(s.Pull(context.Background(), "a:1", nil, nil))
	}
	if n := h.blobs.Load(); n != 3 { // the layer once, the configuration each time
		t.Errorf("%d blobs were fetched", n)
	}
}

func TestFaultOfARegistryIsNotTheImages(t *testing.T) {
	h := newHub(t)
	h.refuse = func(*http.Request) int { return http.StatusInsufficientStorage }
	s := open(t, t.TempDir(), Options{})
	if _, err := s.Pull(context.Background(), strings.TrimPrefix(h.URL, "http://")+"/a:1", nil, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("507: %v", err)
	}
}

func TestAgain(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	with := func(code int, after string) *http.Response {
		return &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {after}}}
	}
	for name, tt := range map[string]struct {
		resp    *http.Response
		err     error
		attempt int
		wait    time.Duration
		again   bool
	}{
		"good":                  {resp: with(200, "")},
		"not found":             {resp: with(404, "")},
		"busy":                  {resp: with(429, ""), wait: requestPause, again: true},
		"busy for seconds":      {resp: with(429, "7"), wait: 7 * time.Second, again: true},
		"busy until a date":     {resp: with(503, "Thu, 01 Jan 2026 00:00:09 GMT"), wait: 9 * time.Second, again: true},
		"busy for hours":        {resp: with(429, "7200"), wait: 2 * time.Hour},
		"a fault, again":        {resp: with(502, ""), attempt: 2, wait: 4 * requestPause, again: true},
		"a fault, often enough": {resp: with(502, ""), attempt: requestAttempts - 1},
		"no route":              {err: errors.New("connect: no route to host"), wait: requestPause},
		"a kept connection":     {err: io.EOF, wait: requestPause, again: true},
	} {
		if wait, ok := again(tt.resp, tt.err, tt.attempt, now); ok != tt.again || wait != tt.wait {
			t.Errorf("%s: %v %v, want %v %v", name, wait, ok, tt.wait, tt.again)
		}
	}
}

func TestPlainHTTPIsForLoopbackAndMirrors(t *testing.T) {
	for host, want := range map[string]bool{"localhost:5000": true, "127.0.0.1:5000": true, "[::1]:5000": true, "127.8.9.1": true, "10.0.0.1:5000": false, "example.com": false, "localhost.example.com": false} {
		if loopback(host) != want {
			t.Errorf("loopback(%q) is %v", host, !want)
		}
	}
	asked := 0
	inner := roundTripper(func(*http.Request) (*http.Response, error) { asked++; return &http.Response{StatusCode: 200}, nil })
	q, _ := http.NewRequest("GET", "http://10.0.0.1:5000/v2/", nil)
	if _, err := (patience{inner: inner, host: "10.0.0.1:5000"}).RoundTrip(q); err == nil || !strings.Contains(err.Error(), "10.0.0.1:5000=http://10.0.0.1:5000") || asked != 0 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	if _, err := (patience{inner: inner}).RoundTrip(q); err != nil {
		t.Error(err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestUnsupportedMediaIsRefusedByName(t *testing.T) {
	h := newHub(t)
	base := forHere(t, randomImage(t, 1))
	foreign := types.MediaType("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
	h.push(t, "library/foreign:1", must[v1.Image](t)(mutate.Append(base, mutate.Addendum{Layer: static.NewLayer([]byte("x"), foreign), MediaType: foreign})))
	h.push(t, "library/chart:1", mutate.ConfigMediaType(mutate.MediaType(base, types.OCIManifestSchema1), "application/vnd.cncf.helm.config.v1+json"))
	s := open(t, t.TempDir(), h.options())
	before := h.blobs.Load()
	for ref, want := range map[string]string{"foreign:1": string(foreign), "chart:1": "helm.config"} {
		if _, err := s.Pull(context.Background(), ref, nil, nil); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if h.blobs.Load() != before {
		t.Error("blobs were fetched")
	}
}

// TestRights: Invariant 29. An image goes to who has shown the registry a good credential, and to nobody else without asking it.
func TestRights(t *testing.T) {
	h := newHub(t)
	img := forHere(t, randomImage(t, 1))
	h.push(t, "team/app:1", img)
	h.push(t, "team/open:1", forHere(t, randomImage(t, 1)))
	h.refuse = func(r *http.Request) int {
		if _, p, _ := r.BasicAuth(); strings.Contains(r.URL.Path, "/team/app/") && p != "good" && p != "better" {
			return http.StatusUnauthorized
		}
		return 0
	}
	host := strings.TrimPrefix(h.URL, "http://")
	as := func(password string) []authn.Authenticator {
		return []authn.Authenticator{&authn.Basic{Username: "u", Password: password}}
	}
	dir := t.TempDir()
	s := open(t, dir, Options{})
	ref := host + "/team/app:1"
	i := must[*Image](t)(s.Pull(context.Background(), ref, as("good"), nil))
	check := func(s *Store, want map[string]bool) {
		t.Helper()
		for password, may := range want {
			auths := as(password)
			if password == "" {
				auths = nil
			}
			if s.MayUse(i, ref, auths) != may {
				t.Errorf("with %q: %v, want %v", password, !may, may)
			}
		}
	}
	check(s, map[string]bool{"": false, "wrong": false, "good": true, "better": false})
	if s.MayUse(i, i.ID, nil) || s.MayUse(i, "other.example/app:1", as("good")) {
		t.Error("the image is given under another name")
	}
	before := h.blobs.Load()
	must[*Image](t)(s.Pull(context.Background(), ref, as("better"), nil)) // asks only
	if h.blobs.Load() != before {
		t.Error("asking for leave fetched blobs")
	}
	if _, err := s.Pull(context.Background(), ref, nil, nil); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("a stranger: %v", err)
	}
	s.Close()
	s = open(t, dir, Options{})
	check(s, map[string]bool{"": false, "wrong": false, "good": true, "better": true})

	// A registry that gives to strangers gives to all; an image that no registry gave is everybody's.
	open1 := must[*Image](t)(s.Pull(context.Background(), host+"/team/open:1", nil, nil))
	if !s.MayUse(open1, host+"/team/open:1", nil) || !s.MayUse(open1, host+"/team/open:1", as("any")) {
		t.Error("an open image is not given")
	}
	loaded := must[[]*Image](t)(s.Load(context.Background(), strings.NewReader(string(dockerArchive(t, "l:1", randomImage(t, 1))))))
	if !s.MayUse(loaded[0], "l:1", nil) {
		t.Error("a loaded image is not given")
	}
	if err := s.Remove(i.ID, nil); err != nil {
		t.Fatal(err)
	}
	if s.rights.Images[i.ID] != nil {
		t.Error("the rights outlive the image")
	}
}
