package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// enclosure is a directory for one run, beside a file that must stay as it is.
func enclosure(t *testing.T) (inner string, check func()) {
	outer := t.TempDir()
	inner = filepath.Join(outer, "in")
	victim := filepath.Join(outer, "victim")
	if err := errors.Join(os.Mkdir(inner, 0o700), os.WriteFile(victim, []byte("safe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return inner, func() {
		t.Helper()
		b, err := os.ReadFile(victim) // #nosec G304 -- our own
		found, _ := os.ReadDir(outer)
		if st, serr := os.Lstat(victim); err != nil || serr != nil || string(b) != "safe" || st.Mode() != 0o600 || len(found) != 2 {
			t.Fatalf("outside: %q %v %v", b, found, errors.Join(err, serr))
		}
	}
}

var fuzzLimits = Limits{LayerEntries: 100, LayerBytes: 1 << 20, ArchiveBytes: 1 << 20}

// FuzzUnpack: whatever a layer's bytes are, they end in a directory or an error, and nothing beside the directory changes.
// Invariant 25.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte("no tar"))
	f.Add(stream(f, file("a", "b"), symlink("l", ".."), file("l/victim", "evil"), hardlink("h", "l/victim"), dir("d"), file("d/.wh..wh..opq", "")).Bytes())
	sparse := file("s", "x")
	sparse.PAXRecords = map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000000000000"}
	f.Add(stream(f, sparse).Bytes())
	capable := file("c", "x")
	capable.Uid, capable.Gid, capable.Mode = 100_000, 1<<30, 0o6755
	capable.PAXRecords = map[string]string{xattrPrefix + "security.capability": "\x01\x00\x00\x02", xattrPrefix + "trusted.overlay.redirect": "/"}
	f.Add(stream(f, capable, file("c", "again"), file(".wh.c", ""), dir("c"), file("c/.wh.x", ""), file(strings.Repeat("n", 300), "long")).Bytes())
	f.Add(stream(f, dir("./"), file("a/b/c/d", ""), symlink("a/b/up", "../../../.."), file("a/b/up/victim", "evil"), hardlink("a/h", "a/b/c/d")).Bytes())
	f.Add(stream(f).Bytes()) // an empty layer
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		in, check := enclosure(t)
		_ = unpack(in, bytes.NewReader(b), fuzzLimits) // may refuse
		check()
	})
}

// archiveOf is a docker archive of one layer, or an OCI one.
func archiveOf(t testing.TB, layer []byte) (docker, oci []byte) {
	t.Helper()
	config, err := json.Marshal(v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{{Algorithm: "sha256", Hex: sum(layer)}}}})
	if err != nil {
		t.Fatal(err)
	}
	m := newManifest(config)
	m.Layers = []v1.Descriptor{{Size: int64(len(layer)), Digest: v1.Hash{Algorithm: "sha256", Hex: sum(layer)}}}
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	blob := func(b []byte) entry { return file("blobs/sha256/"+sum(b), string(b)) }
	index := `{"manifests":[{"digest":"sha256:` + sum(manifest) + `","annotations":{"org.opencontainers.image.ref.name":"a:1"}}]}`
	return stream(t, file("manifest.json", `[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]`), file("c", string(config)), symlink("l", "m"), file("m", string(layer))).Bytes(),
		stream(t, file("index.json", index), blob(manifest), blob(config), blob(layer)).Bytes()
}

// FuzzLoad: an archive makes images whose layers are in the store, or it is refused.
func FuzzLoad(f *testing.F) {
	docker, oci := archiveOf(f, stream(f, file("a", "b")).Bytes())
	f.Add(docker)
	f.Add(oci)
	f.Add(stream(f, file("index.json", `{"manifests":[{"digest":"sha256:..","size":-1}]}`), symlink("x", "x")).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		in, check := enclosure(t)
		s := open(t, in, Options{Limits: fuzzLimits})
		images, _ := s.Load(context.Background(), bytes.NewReader(b)) // may refuse
		for _, i := range images {
			checkImage(t, in, i)
		}
		check()
	})
}

// checkImage: the layers of an image are directories right below the store's.
func checkImage(t *testing.T, dir string, i *Image) {
	t.Helper()
	for _, l := range i.Layers {
		st, err := os.Stat(l)
		if err != nil || !st.IsDir() || filepath.Dir(l) != filepath.Join(dir, "layers") {
			t.Fatalf("a layer at %s: %v", l, err)
		}
	}
}

// FuzzRegistry: a registry that answers with anything is refused or gives an image that is whole.
func FuzzRegistry(f *testing.F) {
	layer := stream(f, file("a", "b")).Bytes()
	_, oci := archiveOf(f, layer)
	var docs [][]byte
	for r := tar.NewReader(bytes.NewReader(oci)); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		b := make([]byte, h.Size)
		_, _ = io.ReadFull(r, b)
		docs = append(docs, b)
	}
	f.Add("application/vnd.oci.image.manifest.v1+json", docs[1], docs[2])
	f.Add("application/vnd.oci.image.index.v1+json", docs[0], docs[2])
	f.Add("application/vnd.docker.distribution.manifest.v1+prettyjws", []byte(`{"schemaVersion":1}`), []byte(nil))
	f.Add("", []byte(`{"layers":[{"size":-5,"digest":"sha256:00"}],"config":{"digest":"sha256:`+sum(nil)+`"}}`), []byte(nil))
	f.Fuzz(func(t *testing.T, mediaType string, manifest, config []byte) {
		if strings.ContainsAny(mediaType, "\r\n") {
			return
		}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "/manifests/"):
				w.Header().Set("Content-Type", mediaType)
				_, _ = w.Write(manifest)
			case strings.HasSuffix(r.URL.Path, sum(layer)):
				_, _ = w.Write(layer)
			case strings.Contains(r.URL.Path, "/blobs/"):
				_, _ = w.Write(config)
			}
		}))
		defer srv.Close()
		in, check := enclosure(t)
		s := open(t, in, Options{Limits: fuzzLimits, Mirrors: map[string][]Mirror{"*": {{URL: srv.URL}}}})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if i, err := s.Pull(ctx, "127.0.0.1:1/a:1", nil, nil); err == nil {
			checkImage(t, in, i)
		}
		check()
	})
}

// FuzzCredentials: a docker configuration is refused without a word of its secrets, or gives the credentials of the registry asked for.
func FuzzCredentials(f *testing.F) {
	auth := base64.StdEncoding.EncodeToString([]byte("user:secret-password"))
	f.Add("registry.example.com/team/app:1", []byte(`{"auths":{"*.example.com/team":{"auth":"`+auth+`"},"https://index.docker.io/v1/":{"username":"u"}}}`))
	f.Add("nginx", []byte(`{"index.docker.io":{"auth":"`+auth+`"}}`))
	f.Add("a.b/c@sha256:"+sum(nil), []byte(`{"auths":{"[a.b":{},"a.b/c/":{"identitytoken":"t"}}}`))
	f.Fuzz(func(t *testing.T, ref string, config []byte) {
		if full, err := Canonical(ref); err == nil {
			if again, err := Canonical(full); err != nil || again != full {
				t.Fatalf("%q is %q, and that is %q, %v", ref, full, again, err)
			}
		}
		found, err := Credentials(ref, config)
		if err != nil {
			if strings.Contains(err.Error(), "secret-password") || strings.Contains(err.Error(), auth) {
				t.Fatalf("the error tells the secret: %v", err)
			}
			return
		}
		all, err := dockerAuths(config)
		if err != nil {
			t.Fatal(err)
		}
		var known []authn.AuthConfig
		for _, a := range all {
			if one, err := a.authenticator(); err == nil {
				c, _ := one.Authorization()
				known = append(known, *c)
			}
		}
		for _, a := range found {
			if c, err := a.Authorization(); err != nil || !slices.Contains(known, *c) {
				t.Fatalf("credentials that are not in the configuration: %v, %v", c, err)
			}
		}
	})
}
