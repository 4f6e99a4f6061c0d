package registry

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// layer of tar entries; body is by name.
func layerOf(headers []tar.Header, body map[string]string) (v1.Layer, error) {
	raw, err := tarOf(headers, body)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
}

func tarOf(headers []tar.Header, body map[string]string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body[h.Name]))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, body[h.Name]); err != nil && h.Typeflag == tar.TypeReg {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

// oddImages are what images may be, beyond what most are. base has busybox.
func oddImages(base v1.Image) (images map[string]v1.Image, indexes map[string]v1.ImageIndex, err error) {
	images, indexes = map[string]v1.Image{"private/app:1": base, "private/app:2": base, "faulty/app:1": base}, map[string]v1.ImageIndex{}
	for ref, make := range map[string]func(v1.Image) (v1.Image, error){
		"odd/config:1": withConfig, "odd/files:1": withFiles, "odd/layers:127": withLayers, "odd/zstd:1": withZstd, "odd/foreign:1": withForeign, "odd/big:1": withBulk(1), "odd/big:2": withBulk(2),
		"faulty/cut:1": withBulk(3), "faulty/flip:1": withBulk(4), "faulty/busy:1": withBulk(5), "faulty/slow:1": withBulk(6), "faulty/unused:1": withBulk(7),
	} {
		if images[ref], err = make(base); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", ref, err)
		}
	}
	here := v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}
	other := v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}
	unknown := v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}
	inner := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image, Descriptor: other}, mutate.IndexAddendum{Add: base, Descriptor: here})
	indexes["odd/nested:1"] = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image, Descriptor: unknown}, mutate.IndexAddendum{Add: inner})
	indexes["odd/elsewhere:1"] = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image, Descriptor: other}, mutate.IndexAddendum{Add: empty.Image, Descriptor: unknown})
	return images, indexes, nil
}

func withConfig(base v1.Image) (v1.Image, error) {
	cfg, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.Config.Entrypoint = []string{"/bin/sh", "-c"}
	cfg.Config.Cmd = []string{`trap 'echo stopped by USR1; exit 0' USR1; echo "$COLOUR in $PWD as $(id -un):$(id -gn)"; while :; do sleep 0.1; done`}
	cfg.Config.Env = append(cfg.Config.Env, "COLOUR=blue")
	cfg.Config.WorkingDir = "/made/for/it"
	cfg.Config.User = "www-data:nogroup"
	cfg.Config.StopSignal = "SIGUSR1"
	cfg.Config.Volumes = map[string]struct{}{"/data": {}}
	return mutate.ConfigFile(base, cfg)
}

// longName needs a PAX header: it does not fit into a tar header.
var longName = "long/" + string(bytes.Repeat([]byte("n"), 200))

// capNetRaw is security.capability of a file with CAP_NET_RAW effective and permitted (version 2).
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func withFiles(base v1.Image) (v1.Image, error) {
	body := map[string]string{"old/a": "a", "old/b": "b", "gone": "x", "opaque/below": "x", "twice": "first", "suid": "x", "cap": "x", "big": "x", longName: "long"}
	lower, err := layerOf([]tar.Header{{Name: "old/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "old/a"}, {Name: "old/b"}, {Name: "gone"},
		{Name: "opaque/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "opaque/below"}}, body)
	if err != nil {
		return nil, err
	}
	upper, err := layerOf([]tar.Header{{Name: "old/.wh.a"}, {Name: ".wh.gone"},
		{Name: "opaque/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "opaque/.wh..wh..opq"}, {Name: "opaque/above"},
		{Name: "twice"}, {Name: "twice", Mode: 0o600}, {Name: "suid", Mode: 0o4755},
		{Name: "cap", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": capNetRaw}},
		{Name: "big", Uid: 100_000, Gid: 200_000}, {Name: longName}, {Name: "hard", Typeflag: tar.TypeLink, Linkname: "big"},
		{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "../../../../etc/passwd"},
		{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, {Name: "empty"}}, body)
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(base, lower, upper)
}

// withLayers makes 127 layers in all, among them some without any entry.
func withLayers(base v1.Image) (v1.Image, error) {
	var layers []v1.Layer
	for i := 1; i < 127; i++ {
		headers := []tar.Header{{Name: fmt.Sprintf("layer-%d", i)}}
		if i%10 == 0 {
			headers = []tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: fmt.Sprintf("dir-%d/", i), Typeflag: tar.TypeDir, Mode: 0o755}}
		}
		l, err := layerOf(headers, nil)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return mutate.AppendLayers(base, layers...)
}

// compressed is a layer whose blob is another form of its content.
type compressed struct {
	v1.Layer // the blob
	diffID   v1.Hash
}

func (c compressed) DiffID() (v1.Hash, error) { return c.diffID, nil }

func withZstd(base v1.Image) (v1.Image, error) {
	raw, err := tarOf([]tar.Header{{Name: "zstd"}}, map[string]string{"zstd": "from zstd\n"})
	if err != nil {
		return nil, err
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		return nil, err
	}
	l := compressed{static.NewLayer(enc.EncodeAll(raw, nil), types.OCILayerZStd), v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(raw))}}
	plain, err := tarOf([]tar.Header{{Name: "plain"}}, map[string]string{"plain": "from plain tar\n"})
	if err != nil {
		return nil, err
	}
	return mutate.Append(base, mutate.Addendum{Layer: l, MediaType: types.OCILayerZStd},
		mutate.Addendum{Layer: static.NewLayer(plain, types.OCIUncompressedLayer), MediaType: types.OCIUncompressedLayer})
}

func withForeign(base v1.Image) (v1.Image, error) {
	return mutate.Append(base, mutate.Addendum{Layer: static.NewLayer([]byte("encrypted"), "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
		MediaType: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"})
}

// withBulk adds three layers of 4 MiB that do not compress, and are different for each seed.
func withBulk(seed uint64) func(v1.Image) (v1.Image, error) {
	return func(base v1.Image) (v1.Image, error) {
		random := rand.New(rand.NewPCG(seed, 1))
		var layers []v1.Layer
		for i := range 3 {
			b := make([]byte, 4<<20)
			for n := range b {
				b[n] = byte(random.Uint32())
			}
			name := fmt.Sprintf("bulk-%d", i)
			l, err := layerOf([]tar.Header{{Name: name}}, map[string]string{name: string(b)})
			if err != nil {
				return nil, err
			}
			layers = append(layers, l)
		}
		return mutate.AppendLayers(base, layers...)
	}
}
