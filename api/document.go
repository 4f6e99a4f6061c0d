package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Document is an object of a kind that is not in the table: what a CustomResourceDefinition makes, and the definitions themselves. The
// cluster reads and writes its metadata, as owners, finalizers and namespaces concern everything; the rest is for the API server and
// for clients only, and stays the JSON that it was stored as. It is immutable once it is stored.
type Document struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// Rest is a JSON object: every field of the object but apiVersion, kind and metadata.
	Rest []byte
}

var _ wire = (*Document)(nil)

// DeepCopyObject copies everything but Rest, which nobody changes.
func (d *Document) DeepCopyObject() runtime.Object {
	c := &Document{TypeMeta: d.TypeMeta, Rest: d.Rest}
	d.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return c
}

// NewDocument takes an object's JSON apart. It does not keep the bytes.
func NewDocument(object []byte) (*Document, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, fmt.Errorf("reading an object: %w", err)
	}
	d := &Document{}
	into := map[string]any{"apiVersion": &d.APIVersion, "kind": &d.Kind, "metadata": &d.ObjectMeta}
	for name, value := range into {
		if raw, ok := fields[name]; ok {
			if err := json.Unmarshal(raw, value); err != nil {
				return nil, fmt.Errorf("reading an object's %s: %w", name, err)
			}
			delete(fields, name)
		}
	}
	if d.APIVersion == "" || d.Kind == "" {
		return nil, errors.New("reading an object: it has no apiVersion or kind")
	}
	var err error
	d.Rest, err = json.Marshal(fields)
	return d, err
}

// JSON is the whole object.
func (d *Document) JSON() ([]byte, error) {
	head := struct {
		metav1.TypeMeta `json:",inline"`
		ObjectMeta      *metav1.ObjectMeta `json:"metadata"`
	}{d.TypeMeta, &d.ObjectMeta}
	b, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	if rest := bytes.TrimSpace(d.Rest); len(rest) > len("{}") {
		b = append(b[:len(b)-1], ',')
		b = append(b, rest[1:]...)
	}
	return b, nil
}

// Size is the length of what Marshal writes.
func (d *Document) Size() int {
	n := len(d.Rest)
	for _, part := range []int{len(d.APIVersion), len(d.Kind), d.ObjectMeta.Size()} {
		n += sizeOfUvarint(uint64(part)) + part
	}
	return n
}

func sizeOfUvarint(v uint64) int {
	return len(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), v))
}

// Marshal writes the four parts one after the other, the first three with their lengths.
func (d *Document) Marshal() ([]byte, error) {
	b := make([]byte, d.Size())
	_, err := d.MarshalToSizedBuffer(b)
	return b, err
}

// MarshalToSizedBuffer is Marshal into the end of b, which has at least Size bytes.
func (d *Document) MarshalToSizedBuffer(b []byte) (int, error) {
	size := d.Size()
	out := b[len(b)-size:][:0]
	for _, part := range []string{d.APIVersion, d.Kind} {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	n := d.ObjectMeta.Size()
	out = binary.AppendUvarint(out, uint64(n))
	if got, err := d.ObjectMeta.MarshalToSizedBuffer(out[len(out) : len(out)+n]); err != nil {
		return 0, err
	} else if got != n {
		return 0, fmt.Errorf("a document's metadata has %d bytes instead of %d", got, n)
	}
	copy(out[len(out)+n:size], d.Rest)
	return size, nil
}

// Unmarshal reads what Marshal wrote, and keeps none of the bytes.
func (d *Document) Unmarshal(b []byte) error {
	var parts [3][]byte
	for i := range parts {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return errors.New("a document ends too early")
		}
		parts[i], b = b[size:size+int(n)], b[size+int(n):]
	}
	d.TypeMeta = metav1.TypeMeta{APIVersion: string(parts[0]), Kind: string(parts[1])}
	d.ObjectMeta = metav1.ObjectMeta{}
	d.Rest = bytes.Clone(b)
	return d.ObjectMeta.Unmarshal(parts[2])
}
