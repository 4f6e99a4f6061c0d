package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

// ErrDamaged is wrapped when a snapshot cannot be read.
var ErrDamaged = errors.New("the snapshot is damaged")

// snapshotMagic and the format's number lead the (compressed) stream; a CRC-32C of everything
// before it ends it. In between: revision, index, meta, then the tables in the order of their
// names, objects in the order of their keys, a pod template before the first pod that uses it.
const snapshotMagic = "peapod-state-1\n"

// Sections of a snapshot.
const (
	sectionMeta byte = iota + 1
	sectionTable
	sectionObject
	sectionTemplate
	sectionPod
	sectionEnd
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteTo streams the view. The same view always gives the same bytes.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	count := &countingWriter{w: w}
	z, err := zstd.NewWriter(count, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, fmt.Errorf("writing a snapshot: %w", err)
	}
	s := snapshotWriter{sum: crc32.New(castagnoli), templates: map[string]uint64{}}
	s.out = bufio.NewWriterSize(io.MultiWriter(z, s.sum), 1<<16)
	s.view(v)
	if s.err == nil {
		s.err = s.out.Flush()
	}
	if s.err == nil {
		_, s.err = z.Write(binary.BigEndian.AppendUint32(nil, s.sum.Sum32()))
	}
	return count.n, errors.Join(s.err, z.Close())
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// snapshotWriter remembers its first error.
type snapshotWriter struct {
	out       *bufio.Writer
	sum       hash.Hash32
	templates map[string]uint64 // encoded template -> number, in order of first use
	err       error
	scratch   []byte

	expand podstatus.Expander
	status []byte
}

func (s *snapshotWriter) raw(b []byte) {
	if s.err == nil {
		_, s.err = s.out.Write(b)
	}
}

func (s *snapshotWriter) uint(v uint64) { s.raw(binary.AppendUvarint(s.scratch[:0], v)) }
func (s *snapshotWriter) bytes(b []byte) {
	s.uint(uint64(len(b)))
	s.raw(b)
}
func (s *snapshotWriter) str(v string) { s.bytes([]byte(v)) }

func (s *snapshotWriter) view(v *View) {
	s.scratch = make([]byte, 0, binary.MaxVarintLen64)
	s.raw([]byte(snapshotMagic))
	s.uint(v.revision)
	s.uint(v.index)
	for _, k := range slices.Sorted(maps.Keys(v.meta)) {
		s.raw([]byte{sectionMeta})
		s.str(k)
		s.bytes(v.meta[k])
	}
	for _, gr := range v.Resources() {
		s.raw([]byte{sectionTable})
		s.str(gr.Resource)
		s.str(gr.Group)
		v.tables[gr].Ascend(func(it item) bool {
			if it.pod != nil {
				s.pod(it)
			} else {
				s.object(it)
			}
			return s.err == nil
		})
	}
	s.raw([]byte{sectionEnd})
}

func (s *snapshotWriter) object(it item) {
	b, err := api.Encode(it.obj)
	if err != nil {
		s.err = fmt.Errorf("encoding %q for a snapshot: %w", it.key, err)
		return
	}
	s.raw([]byte{sectionObject})
	s.uint(it.revision)
	s.bytes(b)
}

func (s *snapshotWriter) pod(it item) {
	p := it.pod
	number, known := s.templates[string(p.Template.Encoded)]
	if !known {
		number = uint64(len(s.templates))
		s.templates[string(p.Template.Encoded)] = number
		s.raw([]byte{sectionTemplate})
		s.bytes(p.Template.Encoded)
	}
	s.raw([]byte{sectionPod})
	s.uint(number)
	s.str(p.Name)
	s.str(string(p.UID))
	s.str(p.Node)
	for _, n := range []int64{int64(p.Revision), p.Created, p.Generation, p.DeletionTime, p.DeletionGrace} {
		s.uint(uint64(n))
	}
	s.status = s.expand.AppendStored(s.status[:0], p.Status)
	s.bytes(s.status)
}

// Restore replaces the whole state by a snapshot. Watchers are told to start over: every ring is
// empty with its floor at the new revision, and tails are cut off. The revision never goes back.
func (f *FSM) Restore(r io.Reader) error {
	next := &FSM{notify: f.notify, templates: f.templates}
	next.reset()
	if err := readSnapshot(next, r); err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision = max(f.revision, next.revision)
	f.index, f.floor = next.index, f.revision
	old := f.tables
	f.tables, f.podIndex, f.unique, f.meta = next.tables, next.podIndex, next.unique, next.meta
	f.cutOff(old)
	f.wake()
	return nil
}

// cutOff ends every watch of the replaced tables.
func (f *FSM) cutOff(old map[schema.GroupResource]*table) {
	for gr, t := range old {
		now := f.table(gr)
		t.ring.mu.Lock()
		// Cursors hold the old ring: keep it, emptied, so that they see ErrTooOld and new ones work.
		t.ring.first, t.ring.events, t.ring.start = t.ring.end()+1, nil, 0
		t.ring.floor = f.revision
		t.ring.mu.Unlock()
		now.ring = t.ring
		f.notify.mark(t.ring)
	}
	for _, t := range f.tables {
		t.ring.floor, t.departed.floor = f.revision, f.revision
		t.ring.changes.Add(1)
	}
	f.tails.cutOff()
}

func readSnapshot(f *FSM, r io.Reader) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	s := snapshotReader{in: bufio.NewReaderSize(z, 1<<16), sum: crc32.New(castagnoli), f: f}
	return s.read()
}

// snapshotReader remembers its first error.
type snapshotReader struct {
	in        *bufio.Reader
	sum       hash.Hash32
	f         *FSM
	table     *table
	templates []*api.PodTemplate
	nodes     map[string]string
	err       error
}

// node gives pods of one node one string.
func (s *snapshotReader) node(name string) string {
	if known, ok := s.nodes[name]; ok {
		return known
	}
	if s.nodes == nil {
		s.nodes = map[string]string{}
	}
	s.nodes[name] = name
	return name
}

// ReadByte makes the reader an io.ByteReader that also sums.
func (s *snapshotReader) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.sum.Write([]byte{b})
	}
	return b, err
}

func (s *snapshotReader) fail(err error) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
}

func (s *snapshotReader) uint() uint64 {
	if s.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(s)
	if err != nil {
		s.fail(err)
	}
	return v
}

func (s *snapshotReader) bytes() []byte {
	n := s.uint()
	if n > snapshotItemBytesMax {
		s.fail(fmt.Errorf("an item of %d bytes", n))
	}
	if s.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.in, b); err != nil {
		s.fail(err)
		return nil
	}
	s.sum.Write(b)
	return b
}

func (s *snapshotReader) str() string { return string(s.bytes()) }

func (s *snapshotReader) read() error {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(s.in, magic); err != nil || string(magic) != snapshotMagic {
		return fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	}
	s.sum.Write(magic)
	s.f.revision, s.f.index = s.uint(), s.uint()
	for s.err == nil {
		section, err := s.ReadByte()
		if err != nil {
			s.fail(err)
			break
		}
		if section == sectionEnd {
			return s.checkSum()
		}
		s.section(section)
	}
	return s.err
}

func (s *snapshotReader) checkSum() error {
	want := s.sum.Sum32()
	var b [4]byte
	if _, err := io.ReadFull(s.in, b[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if got := binary.BigEndian.Uint32(b[:]); got != want {
		return fmt.Errorf("%w: its checksum is %08x and should be %08x", ErrDamaged, got, want)
	}
	return nil
}

func (s *snapshotReader) section(section byte) {
	switch section {
	case sectionMeta:
		k := s.str()
		s.f.meta[k] = s.bytes()
	case sectionTable:
		gr := schema.GroupResource{Resource: s.str(), Group: s.str()}
		s.table = s.f.table(gr)
	case sectionObject:
		s.object()
	case sectionTemplate:
		s.template()
	case sectionPod:
		s.pod()
	default:
		s.fail(fmt.Errorf("section %d is unknown to this version", section))
	}
}

func (s *snapshotReader) object() {
	revision, b := s.uint(), s.bytes()
	if s.err != nil || s.table == nil {
		s.fail(errors.New("an object outside a table"))
		return
	}
	obj, err := api.Decode(s.table.resource, b)
	if err != nil {
		s.fail(err)
		return
	}
	if err := s.f.restoreObject(s.table, obj, revision); err != nil {
		s.fail(err)
	}
}

func (s *snapshotReader) template() {
	p := &corev1.Pod{}
	if err := p.Unmarshal(s.bytes()); err != nil {
		s.fail(err)
		return
	}
	t, err := s.f.templates.intern(p)
	if err != nil {
		s.fail(err)
		return
	}
	s.templates = append(s.templates, t)
}

func (s *snapshotReader) pod() {
	number := s.uint()
	if s.err != nil || s.table == nil || number >= uint64(len(s.templates)) {
		s.fail(errors.New("a pod without its template"))
		return
	}
	p := &api.PodRecord{Template: s.templates[number], Name: s.str(), UID: types.UID(s.str()), Node: s.str()}
	p.Revision, p.Created, p.Generation = s.uint(), int64(s.uint()), int64(s.uint())
	p.DeletionTime, p.DeletionGrace = int64(s.uint()), int64(s.uint())
	if err := p.SetStatus(s.bytes()); err != nil {
		s.fail(err)
	}
	p.Node = s.node(p.Node)
	key := makeKey(p.Namespace(), p.Name)
	p.Name = nameIn(key, p.Namespace())
	s.table.set(item{key: key, revision: p.Revision, pod: p})
	s.f.podIndex.move(key, nil, p)
}
