package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Options of a store. The zero value is a store without mirrors and without the embedded image.
type Options struct {
	Logger   hclog.Logger        // nil is silence
	Mirrors  map[string][]Mirror // by registry as names spell it (docker.io); "*" is for all others
	Embedded *Embedded           // see Demo
	Peers    Peers               // other nodes; nil asks registries only
	Limits   Limits
}

// Store is the images in one directory. All methods are safe for concurrent use.
type Store struct {
	dir     string
	log     hclog.Logger
	mirrors map[string][]Mirror
	embed   *Embedded
	peers   Peers
	limits  Limits
	lock    *os.File
	flights flights

	mu     sync.RWMutex
	images map[string]*Image // by ID
	names  map[string]string // canonical name to ID
	pins   map[string]int    // HEX of blobs and layers that an unfinished ingest counts on

	downloads map[string]*download // by HEX
	unsynced  map[string]bool      // HEX of layers that a crash may still damage
	trusted   map[string]bool      // HEX of layers that were unpacked or inspected in this life
	rights    rights
	lastUse   map[string]time.Time // by image ID, of all images; those that were here at the start count from then
	now       func() time.Time
	changed   chan struct{} // capacity 1
}

// Open makes the directory if need be, clears what a crash left half done, and reads the index.
// A directory serves one process at a time.
func Open(dir string, opts Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the image store: %w", err)
	}
	if opts.Logger == nil {
		opts.Logger = hclog.NewNullLogger()
	}
	s := &Store{
		dir: dir, log: opts.Logger, mirrors: opts.Mirrors, embed: opts.Embedded, peers: opts.Peers, limits: opts.Limits.withDefaults(),
		images: map[string]*Image{}, names: map[string]string{}, pins: map[string]int{},
		downloads: map[string]*download{}, unsynced: map[string]bool{}, trusted: map[string]bool{},
		lastUse: map[string]time.Time{}, now: time.Now, changed: make(chan struct{}, 1),
	}
	if err := s.open(); err != nil {
		s.Close()
		return nil, fmt.Errorf("opening the image store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	for _, d := range []string{"blobs/sha256", "layers", "sums", "damaged", "partial"} {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			return err
		}
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.path("tmp")); err != nil {
		return err
	}
	if err := os.Mkdir(s.path("tmp"), 0o700); err != nil {
		return err
	}
	if err := s.readIndex(); err != nil {
		return err
	}
	if err := s.readRights(); err != nil {
		return err
	}
	if err := errors.Join(s.dropStray("layers"), s.dropStray("sums")); err != nil {
		return err
	}
	if err := s.dropDamaged(); err != nil {
		return err
	}
	return s.setStrayBlobsAside()
}

func (s *Store) takeLock() error {
	f, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	s.lock = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errors.New("another process uses it: stop that one, or give this one a --data-dir of its own")
		}
		return err
	}
	return nil
}

// dropStray removes from a directory of layers, or of their sums, those that no image names: they may never have reached the disk whole.
func (s *Store) dropStray(dir string) error {
	found, err := os.ReadDir(s.path(dir))
	if err != nil {
		return err
	}
	kept := s.referenced()
	for _, e := range found {
		if kept[e.Name()] {
			continue
		}
		if err := os.RemoveAll(s.path(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// setStrayBlobsAside makes downloads to be continued of blobs that no image names: they may never have reached the
// disk whole, so they are read again before they count. What nobody wanted for a while goes.
func (s *Store) setStrayBlobsAside() error {
	found, err := os.ReadDir(s.path("blobs", "sha256"))
	if err != nil {
		return err
	}
	kept := s.referenced()
	for _, e := range found {
		if kept[e.Name()] {
			continue
		}
		if err := os.Rename(s.path("blobs", "sha256", e.Name()), s.path("partial", e.Name())); err != nil {
			return err
		}
	}
	return s.dropOldPartials(time.Now())
}

// dropOldPartials removes downloads that nobody has gone on with for a day.
func (s *Store) dropOldPartials(now time.Time) error {
	found, err := os.ReadDir(s.path("partial"))
	if err != nil {
		return err
	}
	for _, e := range found {
		st, err := e.Info()
		if err != nil || now.Sub(st.ModTime()) < partialKept {
			continue
		}
		if err := os.Remove(s.path("partial", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Dir is where the images are.
func (s *Store) Dir() string { return s.dir }

// Close waits for the pulls under way to notice that nobody wants them and frees the directory.
// The caller has ended its calls before.
func (s *Store) Close() error {
	s.flights.wait()
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// Get finds an image by name (any spelling), by digest, or by ID.
func (s *Store) Get(ref string) (*Image, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.get(ref)
}

func (s *Store) get(ref string) (*Image, bool) {
	if i, ok := s.byDigest(ref); ok {
		return i, true
	}
	c, err := Canonical(ref)
	if err != nil {
		return nil, false
	}
	if id, ok := s.names[c]; ok {
		return s.images[id], true
	}
	// A digest names the content, whatever repository it was pulled from under a tag.
	repo, digest, ok := strings.Cut(c, "@")
	if i, known := s.byDigest(digest); ok && known && slices.ContainsFunc(i.Names, func(n string) bool { return strings.HasPrefix(n, repo+":") }) {
		return i, true
	}
	return nil, false
}

// byDigest accepts an image's ID, its manifest's digest, or an unambiguous beginning of the ID.
func (s *Store) byDigest(ref string) (*Image, bool) {
	hex, ok := hexDigest(ref)
	if !ok {
		return nil, false
	}
	var found *Image
	for id, i := range s.images {
		if strings.HasPrefix(id, "sha256:"+hex) || i.Digest == "sha256:"+hex {
			if found != nil {
				return nil, false
			}
			found = i
		}
	}
	return found, found != nil
}

// List returns all images, ordered by ID.
func (s *Store) List() []*Image {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Image, 0, len(s.images))
	for _, i := range s.images {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// record gives the image its names, taking them from whatever had them, and makes that durable.
// What it refers to must be on disk already.
func (s *Store) record(i *Image, names []string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.images[i.ID]; ok {
		names = slices.Concat(names, old.Names)
	}
	images := s.withoutNames(names)
	i = i.named(names)
	images[i.ID] = i
	if err := s.writeIndex(images); err != nil {
		return nil, err
	}
	s.adopt(images)
	return i, nil
}

// withoutNames is the table of images as it would be if nothing had these names.
func (s *Store) withoutNames(names []string) map[string]*Image {
	images := make(map[string]*Image, len(s.images)+1)
	for id, i := range s.images {
		if slices.ContainsFunc(i.Names, func(n string) bool { return slices.Contains(names, n) }) {
			i = i.named(slices.DeleteFunc(slices.Clone(i.Names), func(n string) bool { return slices.Contains(names, n) }))
		}
		images[id] = i
	}
	return images
}

func (s *Store) adopt(images map[string]*Image) {
	for id := range images {
		if _, known := s.lastUse[id]; !known {
			s.lastUse[id] = s.now()
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	s.images, s.names = images, map[string]string{}
	for id, i := range images {
		for _, n := range i.Names {
			s.names[n] = id
		}
	}
}

// referenced is every blob and layer that an image or an unfinished ingest needs. Callers hold mu or are alone.
func (s *Store) referenced() map[string]bool {
	kept := map[string]bool{}
	for _, i := range s.images {
		for _, hex := range slices.Concat(i.blobs, i.diffIDs) {
			kept[hex] = true
		}
	}
	for hex := range s.pins {
		kept[hex] = true
	}
	return kept
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *Store) blobPath(h v1.Hash) string  { return s.path("blobs", "sha256", h.Hex) }
func (s *Store) layerPath(h v1.Hash) string { return s.path("layers", h.Hex) }
