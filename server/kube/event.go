package kube

import (
	"bytes"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// event is the object of a watch event: the state after a change, or the last state of a deleted
// object with the revision of its deletion. It is a runtime.CacheableObject, so all watchers that
// ask for the same encoding share one, which is kept with the change.
type event struct {
	change *api.Change
	of     *objectStorage // that makes objects of Documents; nil for the kinds of the table
}

var _ runtime.CacheableObject = (*event)(nil)

// encodingSlot names an encoding among those of a change to a Document: each version of it has its own.
type encodingSlot struct {
	of *objectStorage
	id runtime.Identifier
}

// encoding is one serialization, made once.
type encoding struct {
	once sync.Once
	raw  []byte
	err  error
}

// object is a copy whose top level the caller may change.
func (e *event) object() runtime.Object {
	if e.change.Deleted() {
		return withRevision(e.shown(oldObject(e.change), true), e.change.Revision)
	}
	return shallow(e.shown(newObject(e.change), false))
}

// shown is what readers see of a change's object. The watcher has made sure before it made the event
// that it can be read.
func (e *event) shown(o runtime.Object, old bool) runtime.Object {
	if e.of == nil {
		return o
	}
	o, err := e.of.shown(e.change, o, old)
	if err != nil {
		panic("kube: " + err.Error())
	}
	return o
}

func (e *event) GetObjectKind() schema.ObjectKind { return e.object().GetObjectKind() }
func (e *event) DeepCopyObject() runtime.Object   { return e.object().DeepCopyObject() }

// GetObject gives the object itself to whoever must change it (a Table, partial metadata).
func (e *event) GetObject() runtime.Object { return e.object() }

// CacheEncode writes the encoding that id names.
func (e *event) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	var slot any = id
	if e.of != nil {
		slot = encodingSlot{e.of, id}
	}
	v, ok := e.change.Shared().Load(slot)
	if !ok {
		v, _ = e.change.Shared().LoadOrStore(slot, &encoding{})
	}
	c := v.(*encoding)
	c.once.Do(func() {
		var b bytes.Buffer
		c.err = encode(e.object(), &b)
		c.raw = b.Bytes()
	})
	if c.err != nil {
		return c.err
	}
	if s, ok := w.(runtime.Splice); ok {
		s.Splice(c.raw)
		return nil
	}
	_, err := w.Write(c.raw)
	return err
}
