package ops

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// ErrDecode is wrapped by every decoding error. A log entry that cannot be decoded must stop the
// server: skipping it would let servers diverge.
var ErrDecode = errors.New("malformed op")

// formatVersion leads every encoded list, so that a later form can be told apart.
const formatVersion = 1

// Kinds of op on the wire. Numbers are for ever.
const (
	tagPut byte = iota + 1
	tagDelete
	tagPlanPods
	tagBindPods
	tagPodStatuses
	tagDeletePods
	tagPutMeta
)

// Encode makes the binary form of a list of ops. It fails only if an object cannot be encoded.
func Encode(list []Op) ([]byte, error) {
	w := writers.Get().(*writer)
	defer w.release()
	w.byte(formatVersion)
	w.uint(uint64(len(list)))
	for _, op := range list {
		if err := w.op(op); err != nil {
			return nil, err
		}
	}
	return bytes.Clone(w.b), nil
}

// writers lend their bytes, so that a long list is not copied each time that it grows.
var writers = sync.Pool{New: func() any { return &writer{} }}

// writerBytesMax is how big a writer's bytes may be that are kept.
const writerBytesMax = 512 << 10

func (w *writer) release() {
	if cap(w.b) <= writerBytesMax {
		w.b = w.b[:0]
		writers.Put(w)
	}
}

// Decode reads what Encode wrote. Objects are fresh; nothing aliases b but byte slices of statuses
// and meta values.
func Decode(b []byte) ([]Op, error) {
	r := reader{b: b}
	if v := r.byte(); v != formatVersion {
		return nil, fmt.Errorf("%w: format %d is unknown to this version", ErrDecode, v)
	}
	n := r.count(opBytesMin)
	list := make([]Op, 0, n)
	for range n {
		op := r.op()
		if r.err != nil {
			return nil, r.err
		}
		list = append(list, op)
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%w: %d bytes too many", ErrDecode, len(r.b))
	}
	return list, r.err
}

// Join makes one list of several encoded ones, in order.
func Join(lists [][]byte) ([]byte, error) {
	total, size := 0, 0
	bodies := make([][]byte, len(lists))
	for i, l := range lists {
		r := reader{b: l}
		if v := r.byte(); v != formatVersion {
			return nil, fmt.Errorf("%w: format %d is unknown to this version", ErrDecode, v)
		}
		total += r.count(opBytesMin)
		if r.err != nil {
			return nil, r.err
		}
		bodies[i] = r.b
		size += len(r.b)
	}
	w := writer{b: make([]byte, 0, size+16)}
	w.byte(formatVersion)
	w.uint(uint64(total))
	for _, b := range bodies {
		w.b = append(w.b, b...)
	}
	return w.b, nil
}

// Count is the number of ops in an encoded list; 0 if it is malformed.
func Count(encoded []byte) int {
	r := reader{b: encoded}
	if r.byte() != formatVersion {
		return 0
	}
	return r.count(opBytesMin)
}

// EncodeResults and DecodeResults carry the results back to a server that forwarded ops.
func EncodeResults(list []Result) []byte {
	w := writer{}
	w.uint(uint64(len(list)))
	for i := range list {
		w.uint(list[i].Revision)
		w.uint(uint64(len(list[i].Rows)))
		for _, o := range list[i].Rows {
			w.byte(byte(o))
		}
		w.str(list[i].Detail)
	}
	return w.b
}

// DecodeResults reads what EncodeResults wrote.
func DecodeResults(b []byte) ([]Result, error) {
	r := reader{b: b}
	list := make([]Result, r.count(resultBytesMin))
	for i := range list {
		list[i].Revision = r.uint()
		list[i].Rows = make([]Outcome, r.count(1))
		for j := range list[i].Rows {
			list[i].Rows[j] = Outcome(r.byte())
		}
		list[i].Detail = r.str()
	}
	return list, r.err
}

func (w *writer) op(op Op) error {
	switch o := op.(type) {
	case *Put:
		return w.put(o)
	case *PlanPods:
		return w.plan(o)
	case *Delete:
		w.byte(tagDelete)
		w.resource(o.Resource)
		w.str(o.Namespace)
		w.str(o.Name)
		w.str(string(o.UID))
		w.uint(o.Expect)
	case *BindPods:
		w.byte(tagBindPods)
		w.uint(uint64(o.Now))
		w.uint(uint64(len(o.Rows)))
		for i := range o.Rows {
			row := &o.Rows[i]
			w.pod(row.Namespace, row.Name, row.UID)
			w.str(row.Node)
		}
	case *PodStatuses:
		w.byte(tagPodStatuses)
		w.uint(uint64(len(o.Rows)))
		for i := range o.Rows {
			row := &o.Rows[i]
			w.pod(row.Namespace, row.Name, row.UID)
			w.uint(row.Expect)
			w.bytes(row.Status)
		}
	case *DeletePods:
		w.byte(tagDeletePods)
		w.uint(uint64(o.Now))
		w.uint(uint64(len(o.Rows)))
		for i := range o.Rows {
			row := &o.Rows[i]
			w.pod(row.Namespace, row.Name, row.UID)
			w.uint(uint64(row.Grace + 1))
		}
	case *PutMeta:
		w.byte(tagPutMeta)
		w.str(o.Key)
		w.bool(o.IfAbsent)
		w.bool(o.Value != nil)
		w.bytes(o.Value)
	default:
		return fmt.Errorf("encoding op: unknown type %T", op)
	}
	return nil
}

func (w *writer) put(o *Put) error {
	w.byte(tagPut)
	w.resource(o.Resource)
	w.uint(o.Expect)
	return w.object(o.Object)
}

func (w *writer) object(o runtime.Object) (err error) {
	w.b, err = api.AppendSized(w.b, o)
	return err
}

func (w *writer) plan(o *PlanPods) error {
	w.byte(tagPlanPods)
	if err := w.object(o.Template); err != nil {
		return fmt.Errorf("encoding the plan's template: %w", err)
	}
	w.uint(uint64(o.Created))
	nodes := w.nodeTable(o.Rows)
	w.uint(uint64(len(o.Rows)))
	for i := range o.Rows {
		w.str(o.Rows[i].Suffix)
		w.uid(o.Rows[i].UID)
		w.uint(nodes[o.Rows[i].Node])
	}
	return nil
}

// nodeTable writes the distinct node names of a plan once, so that a row names its node in a byte or two.
func (w *writer) nodeTable(rows []PlanRow) map[string]uint64 {
	index := map[string]uint64{}
	var names []string
	for i := range rows {
		if _, ok := index[rows[i].Node]; !ok {
			index[rows[i].Node] = uint64(len(names))
			names = append(names, rows[i].Node)
		}
	}
	w.uint(uint64(len(names)))
	for _, n := range names {
		w.str(n)
	}
	return index
}

func (r *reader) op() Op {
	switch tag := r.byte(); tag {
	case tagPut:
		return r.put()
	case tagDelete:
		return &Delete{Resource: r.resource(), Namespace: r.str(), Name: r.str(), UID: types.UID(r.str()), Expect: r.uint()}
	case tagPlanPods:
		return r.plan()
	case tagBindPods:
		o := &BindPods{Now: int64(r.uint()), Rows: make([]BindRow, r.count(bindRowBytesMin))}
		for i := range o.Rows {
			row := &o.Rows[i]
			row.Namespace, row.Name, row.UID = r.pod()
			row.Node = r.str()
		}
		return o
	case tagPodStatuses:
		o := &PodStatuses{Rows: make([]StatusRow, r.count(statusRowBytesMin))}
		for i := range o.Rows {
			row := &o.Rows[i]
			row.Namespace, row.Name, row.UID = r.pod()
			row.Expect, row.Status = r.uint(), r.bytes()
		}
		return o
	case tagDeletePods:
		o := &DeletePods{Now: int64(r.uint()), Rows: make([]DeleteRow, r.count(deleteRowBytesMin))}
		for i := range o.Rows {
			row := &o.Rows[i]
			row.Namespace, row.Name, row.UID = r.pod()
			row.Grace = int64(r.uint()) - 1
		}
		return o
	case tagPutMeta:
		o := &PutMeta{Key: r.str(), IfAbsent: r.bool()}
		if present, v := r.bool(), r.bytes(); present {
			o.Value = append([]byte{}, v...)
		}
		return o
	default:
		r.fail("kind %d is unknown to this version", tag)
		return nil
	}
}

func (r *reader) put() Op {
	o := &Put{Resource: r.resource(), Expect: r.uint()}
	b := r.bytes()
	if r.err != nil {
		return nil
	}
	obj, err := api.DecodeShared(o.Resource, b)
	if err != nil {
		r.fail("%s: %v", o.Resource, err)
		return nil
	}
	o.Object = obj
	return o
}

func (r *reader) plan() Op {
	o := &PlanPods{Template: &corev1.Pod{}}
	if b := r.bytes(); r.err == nil {
		if err := o.Template.Unmarshal(b); err != nil {
			r.fail("the plan's template: %v", err)
		}
	}
	o.Created = int64(r.uint())
	nodes := make([]string, r.count(1))
	for i := range nodes {
		nodes[i] = r.str()
	}
	o.Rows = make([]PlanRow, r.count(planRowBytesMin))
	for i := range o.Rows {
		row := &o.Rows[i]
		row.Suffix, row.UID = r.str(), r.uid()
		n := r.uint()
		if r.err != nil || n >= uint64(len(nodes)) {
			r.fail("a plan's row names node %d of %d", n, len(nodes))
			return nil
		}
		row.Node = nodes[n]
	}
	return o
}

// writer appends; reader consumes and remembers its first error.
type writer struct{ b []byte }

func (w *writer) byte(v byte)   { w.b = append(w.b, v) }
func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) str(s string)  { w.uint(uint64(len(s))); w.b = append(w.b, s...) }
func (w *writer) bytes(s []byte) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}
func (w *writer) bool(v bool) {
	if v {
		w.byte(1)
	} else {
		w.byte(0)
	}
}
func (w *writer) resource(gr schema.GroupResource) { w.str(gr.Resource); w.str(gr.Group) }
func (w *writer) pod(namespace, name string, uid types.UID) {
	w.str(namespace)
	w.str(name)
	w.uid(uid)
}

// uid writes the usual 8-4-4-4-12 form as its 16 bytes, any other string as it is.
func (w *writer) uid(u types.UID) {
	if b, ok := packUID(u); ok {
		w.byte(1)
		w.b = append(w.b, b[:]...)
		return
	}
	w.byte(0)
	w.str(string(u))
}

type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrDecode}, args...)...)
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("it ends too early")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("it ends in a number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Rows have at least so many bytes: for each string, each number and the form of a UID one.
const (
	opBytesMin        = 2
	planRowBytesMin   = 4
	bindRowBytesMin   = 5
	statusRowBytesMin = 6
	deleteRowBytesMin = 5
	resultBytesMin    = 3
)

// count reads a length of things of at least so many bytes each, so that a lie cannot make us allocate.
func (r *reader) count(bytesMin int) int {
	n := r.uint()
	if n > uint64(len(r.b)/bytesMin) {
		r.fail("%d things in %d bytes", n, len(r.b))
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.count(1)
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) str() string { return string(r.bytes()) }
func (r *reader) bool() bool  { return r.byte() == 1 }
func (r *reader) resource() schema.GroupResource {
	return schema.GroupResource{Resource: r.str(), Group: r.str()}
}
func (r *reader) pod() (string, string, types.UID) { return r.str(), r.str(), r.uid() }

func (r *reader) uid() types.UID {
	if r.byte() == 0 {
		return types.UID(r.str())
	}
	if len(r.b) < 16 {
		r.fail("it ends in a UID")
		return ""
	}
	u := unpackUID([16]byte(r.b))
	r.b = r.b[16:]
	return u
}

func packUID(u types.UID) (b [16]byte, ok bool) {
	if len(u) != 36 || u[8] != '-' || u[13] != '-' || u[18] != '-' || u[23] != '-' {
		return b, false
	}
	n, err := hex.Decode(b[:], []byte(strings.ReplaceAll(string(u), "-", "")))
	return b, err == nil && n == 16 && unpackUID(b) == u
}

func unpackUID(b [16]byte) types.UID {
	var o [36]byte
	hex.Encode(o[0:8], b[0:4])
	hex.Encode(o[9:13], b[4:6])
	hex.Encode(o[14:18], b[6:8])
	hex.Encode(o[19:23], b[8:10])
	hex.Encode(o[24:36], b[10:16])
	o[8], o[13], o[18], o[23] = '-', '-', '-', '-'
	return types.UID(o[:])
}
