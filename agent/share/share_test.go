package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/time/rate"

	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

const layerCount = 4

// hub is a registry that counts.
type hub struct {
	*httptest.Server
	blobs  atomic.Int64 // GETs of layers
	bytes  atomic.Int64 // of layers
	config string       // digest, not counted: it is a document
	slow   time.Duration
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && !strings.HasSuffix(r.URL.Path, h.config) {
			h.blobs.Add(1)
			w = &metered{w, h}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	img, err := random.Image(300_000, layerCount)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := img.ConfigFile()
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", runtime.GOARCH
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	h.push(t, img)
	return h
}

func (h *hub) push(t *testing.T, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(h.ref())
	if err == nil {
		err = remote.Write(ref, img)
	}
	digest, configErr := img.ConfigName()
	if err := errors.Join(err, configErr); err != nil {
		t.Fatal(err)
	}
	h.config = digest.String()
}

func (h *hub) ref() string { return strings.TrimPrefix(h.URL, "http://") + "/team/app:1" }

// metered counts bytes and gives them slowly, so that others come while it does.
type metered struct {
	http.ResponseWriter
	hub *hub
}

func (m *metered) Write(b []byte) (int, error) {
	n, total := 0, 0
	var err error
	for len(b) > 0 && err == nil {
		n, err = m.ResponseWriter.Write(b[:min(len(b), 16<<10)])
		m.ResponseWriter.(http.Flusher).Flush()
		total, b = total+n, b[n:]
		m.hub.bytes.Add(int64(n))
		time.Sleep(m.hub.slow)
	}
	return total, err
}

// cluster is nodes that share.
type cluster struct {
	stores []*image.Store
	shares []*Share
	stops  []func()

	mu      sync.Mutex
	members []Member
}

func (c *cluster) list() []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Member(nil), c.members...)
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	for i := range n {
		c.add(t, ca, fmt.Sprint("n", i))
	}
	return c
}

func (c *cluster) add(t *testing.T, ca *pki.CA, name string) {
	t.Helper()
	peer := pki.Peer{Role: pki.RoleNode, Name: name}
	pair, err := ca.IssuePeer(peer, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	identity, err := pki.NewIdentity(pki.Material{Pair: pair, CA: ca.CertPEM()})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := rpc.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var store *image.Store
	s := New(Config{Identity: identity, Members: c.list, Blobs: func() Blobs { return store }})
	if store, err = image.Open(t.TempDir(), image.Options{Peers: s}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx, listener) })
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(func() { stop(); store.Close() })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stores, c.shares, c.stops = append(c.stores, store), append(c.shares, s), append(c.stops, stop)
	c.members = append(c.members, Member{name, listener.Addr().String()})
}

func (c *cluster) pullAll(t *testing.T, ref string, nodes ...int) {
	t.Helper()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			if _, err := c.stores[n].Pull(context.Background(), ref, nil, nil); err != nil {
				t.Errorf("node %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

func TestOnePullServesTheCluster(t *testing.T) {
	h := newHub(t)
	h.slow = 2 * time.Millisecond
	c := newCluster(t, 6)
	c.pullAll(t, h.ref(), 0, 1, 2, 3, 4) // at once
	if n := h.blobs.Load(); n != layerCount {
		t.Errorf("five nodes at once: the registry was asked for a layer %d times, want %d", n, layerCount)
	}
	c.pullAll(t, h.ref(), 5) // later
	if n := h.blobs.Load(); n != layerCount {
		t.Errorf("a sixth: the registry was asked for a layer %d times, want %d", n, layerCount)
	}
}

func TestRegistryHelpsWhenPeersDoNot(t *testing.T) {
	h := newHub(t)
	c := newCluster(t, 3)
	c.pullAll(t, h.ref(), 0)
	c.stops[0]() // it is gone, and its successors do not know it yet
	c.pullAll(t, h.ref(), 1, 2)
}

// cutter gives the beginning of each blob only.
type cutter struct {
	Blobs
	given atomic.Int64
}

func (x *cutter) OpenBlob(ctx context.Context, digest string, offset int64) (io.ReadCloser, error) {
	r, err := x.Blobs.OpenBlob(ctx, digest, offset)
	if err != nil {
		return nil, err
	}
	x.given.Add(1)
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, 100_000), r}, nil
}

func TestFetchGoesOnAtTheRegistry(t *testing.T) {
	h := newHub(t)
	c := newCluster(t, 2)
	c.pullAll(t, h.ref(), 0)
	x := &cutter{Blobs: c.stores[0]}
	c.shares[0].cfg.Blobs = func() Blobs { return x }
	h.bytes.Store(0)
	c.pullAll(t, h.ref(), 1)
	if x.given.Load() != layerCount {
		t.Errorf("the other node gave %d blobs", x.given.Load())
	}
	if n := h.bytes.Load(); n == 0 || n > layerCount*220_000 {
		t.Errorf("the registry gave %d bytes, want what the other node did not", n)
	}
}

// liar gives as many bytes as there are, but other ones.
type liar struct{ Blobs }

func (l liar) OpenBlob(ctx context.Context, digest string, offset int64) (io.ReadCloser, error) {
	r, err := l.Blobs.OpenBlob(ctx, digest, offset)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	return io.NopCloser(bytes.NewReader(b)), err
}

func TestWrongBytesFromAPeerAreNotBelieved(t *testing.T) {
	h := newHub(t)
	c := newCluster(t, 2)
	c.pullAll(t, h.ref(), 0)
	c.shares[0].cfg.Blobs = func() Blobs { return liar{c.stores[0]} }
	c.pullAll(t, h.ref(), 1)
	a, _ := c.stores[0].Get(h.ref())
	b, ok := c.stores[1].Get(h.ref())
	if !ok || a.ID != b.ID {
		t.Errorf("the node has %v", b)
	}
	if n := h.blobs.Load(); n != 2*layerCount {
		t.Errorf("the registry was asked for a layer %d times, want all of them again", n)
	}
}

// TestGiftsCountAgainstTheRate lets a limiter that never fills up again tell what was taken from it.
func TestGiftsCountAgainstTheRate(t *testing.T) {
	h := newHub(t)
	c := newCluster(t, 2)
	c.pullAll(t, h.ref(), 0)
	const all = 10 << 20
	c.shares[0].rate = rate.NewLimiter(1e-9, all)
	c.pullAll(t, h.ref(), 1)
	if taken := all - int(c.shares[0].rate.Tokens()); taken < layerCount*300_000 {
		t.Errorf("%d bytes count, at least %d were given", taken, layerCount*300_000)
	}
	if n := h.blobs.Load(); n != layerCount {
		t.Errorf("the registry was asked for a layer %d times", n)
	}
}

func TestServersAndStrangersGetNothing(t *testing.T) {
	c := newCluster(t, 1)
	ca, _ := pki.NewCA("other", time.Now())
	d := newCluster(t, 0)
	d.add(t, ca, "n1")
	conn, release, err := d.shares[0].conns.get(context.Background(), c.list()[0])
	if err != nil {
		return // refused in the handshake
	}
	defer release()
	if raw, err := conn.OpenRaw(context.Background(), wire.MethodLayer, &wire.LayerFetch{Digest: "sha256:" + strings.Repeat("0", 64)}); err == nil || rpc.CodeOf(err) == rpc.CodeNotFound {
		t.Errorf("a node of another cluster is answered: %v %v", raw, err)
	}
}
