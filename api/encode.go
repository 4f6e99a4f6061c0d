package api

import (
	"encoding/binary"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// wire is what every type of k8s.io/api can do, and a Document: write itself as protobuf and read itself back.
// Its Marshal sorts map keys, so equal objects have equal bytes.
type wire interface {
	runtime.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
}

// Encode gives the object's own protobuf bytes: no envelope, and no kind or apiVersion (the caller
// keeps the resource beside the bytes). Equal objects give equal bytes.
func Encode(obj runtime.Object) ([]byte, error) {
	w, ok := obj.(wire)
	if !ok {
		return nil, fmt.Errorf("encoding %T: the type has no protobuf form", obj)
	}
	b, err := w.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", obj, err)
	}
	return b, nil
}

// AppendSized appends the length of Encode's bytes as a varint and the bytes themselves to b.
func AppendSized(b []byte, obj runtime.Object) ([]byte, error) {
	w, ok := obj.(wire)
	if !ok {
		return b, fmt.Errorf("encoding %T: the type has no protobuf form", obj)
	}
	n := w.Size()
	b = binary.AppendUvarint(b, uint64(n))
	from := len(b)
	b = slices.Grow(b, n)[:from+n]
	got, err := w.MarshalToSizedBuffer(b[from:])
	if err == nil && got != n {
		err = fmt.Errorf("it has %d bytes instead of %d", got, n)
	}
	if err != nil {
		return b, fmt.Errorf("encoding %T: %w", obj, err)
	}
	return b, nil
}

// Decode reads what Encode wrote: an object of a kind of the table, or a Document. Nothing is defaulted: the
// object was whole when it was stored; only what protobuf has no room for comes from Kind.Restore.
func Decode(gr schema.GroupResource, b []byte) (runtime.Object, error) {
	k := KindFor(gr)
	if k == nil {
		d := &Document{}
		if err := d.Unmarshal(b); err != nil {
			return nil, fmt.Errorf("decoding %s: %w", gr, err)
		}
		return d, nil
	}
	obj := k.New()
	w, ok := obj.(wire)
	if !ok {
		return nil, fmt.Errorf("decoding %s: the type has no protobuf form", gr)
	}
	if err := w.Unmarshal(b); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", gr, err)
	}
	if k.Restore != nil {
		k.Restore(obj)
	}
	return obj, nil
}
