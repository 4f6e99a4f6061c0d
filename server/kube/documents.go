package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/peapod-sh/peapod/api"
)

// documents makes objects of what the store holds of kinds that are not in the table, and the reverse. The codec converts between
// versions, prunes and defaults; who reads gets an object of its own. A nil documents is that of the table's kinds, which are stored
// as they are read.
type documents struct{ codec runtime.Codec }

// read makes the object that a reader sees.
func (d *documents) read(stored runtime.Object) (runtime.Object, error) {
	doc, ok := stored.(*api.Document)
	if d == nil || !ok {
		return stored, nil
	}
	b, err := doc.JSON()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	o, err := runtime.Decode(d.codec, b)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("reading the stored %s %q: %w", doc.Kind, doc.Name, err))
	}
	return o, nil
}

// write makes what is stored of an object.
func (d *documents) write(o runtime.Object) (runtime.Object, error) {
	if d == nil {
		return o, nil
	}
	if d, ok := o.(*apiextensions.CustomResourceDefinition); ok && d.Status.Conditions == nil {
		d.Status.Conditions = []apiextensions.CustomResourceDefinitionCondition{} // on null, `kubectl wait` gives up at once
	}
	var made documentWriter
	if err := d.codec.Encode(o, &made); err != nil {
		return nil, err
	}
	if made.document != nil {
		return made.document, nil
	}
	return api.NewDocument(made.Bytes())
}

// documentWriter takes either an object's JSON or its document.
type documentWriter struct {
	bytes.Buffer
	document *api.Document
}

// documentCodec is the innermost codec of custom resources, behind those that convert and prune. It makes a document of an object at
// once, where JSON of all of it would be read again to be taken apart.
type documentCodec struct{ runtime.Codec }

// Encode implements runtime.Encoder.
func (c documentCodec) Encode(o runtime.Object, w io.Writer) error {
	made, ok := w.(*documentWriter)
	u, plain := o.(*unstructured.Unstructured)
	if !ok || !plain {
		return c.Codec.Encode(o, w)
	}
	d, err := documentOf(u.Object)
	if err != nil {
		return c.Codec.Encode(o, w) // which says it as others expect
	}
	made.document = d
	return nil
}

// documentOf is the document of an object. It shares no memory with it.
func documentOf(o map[string]any) (*api.Document, error) {
	d := &api.Document{}
	d.APIVersion, _ = o["apiVersion"].(string)
	d.Kind, _ = o["kind"].(string)
	if d.APIVersion == "" || d.Kind == "" {
		return nil, errors.New("an object without apiVersion or kind")
	}
	metadata, ok := o["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("an object without metadata")
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(metadata, &d.ObjectMeta); err != nil {
		return nil, err
	}
	rest := maps.Clone(o)
	delete(rest, "apiVersion")
	delete(rest, "kind")
	delete(rest, "metadata")
	var err error
	d.Rest, err = json.Marshal(rest)
	return d, err
}

// result is what a writer gets back, with its new revision: an object that was converted to be stored may come back as less.
func (d *documents) result(o, stored runtime.Object, revision uint64) (runtime.Object, error) {
	if d == nil || o.GetObjectKind().GroupVersionKind() == stored.GetObjectKind().GroupVersionKind() {
		return withRevision(o, revision), nil
	}
	return d.read(withRevision(stored, revision))
}

// storedSlot is where the context of a creation has place for what was stored.
type storedSlot struct{}

// tell shows whoever asked in the context what was stored of the object.
func (d *documents) tell(ctx context.Context, stored runtime.Object) {
	if d == nil {
		return
	}
	if slot, ok := ctx.Value(storedSlot{}).(**api.Document); ok {
		*slot, _ = stored.(*api.Document)
	}
}

// sameDocument says whether to store next in the place of stored would change nothing. An object that is stored in another version
// than it would be now does change: that is how objects are brought to a new version.
func sameDocument(next, stored *api.Document) bool {
	c := withRevision(next, revisionOf(stored)).(*api.Document)
	return c.TypeMeta == stored.TypeMeta && bytes.Equal(c.Rest, stored.Rest) && equality.Semantic.DeepEqual(&c.ObjectMeta, &stored.ObjectMeta)
}

// convertedSlot is where a change keeps the objects that were made of it for the readers of another version than the stored one: a
// webhook may have been asked. What needs no conversion is made anew for each reader, as most have its encoding only.
type convertedSlot struct {
	of  *objectStorage
	old bool
}

type converted struct {
	o   runtime.Object
	err error
}

// before and after are a change's objects as readers see them, nil if there is none. They may be shared and must not be changed.
func (s *objectStorage) before(c *api.Change) (runtime.Object, error) {
	return s.shown(c, oldObject(c), true)
}

func (s *objectStorage) after(c *api.Change) (runtime.Object, error) {
	return s.shown(c, newObject(c), false)
}

func (s *objectStorage) shown(c *api.Change, o runtime.Object, old bool) (runtime.Object, error) {
	if !s.converts(o) {
		return s.documents.read(o)
	}
	slot := convertedSlot{s, old}
	v, ok := c.Shared().Load(slot)
	if !ok {
		o, err := s.documents.read(o)
		v, _ = c.Shared().LoadOrStore(slot, converted{o, err})
	}
	r := v.(converted)
	return r.o, r.err
}

// readableSlot is where a change keeps whether readers of a storage can be shown it.
type readableSlot struct{ of *objectStorage }

// readable says why the object that a change's readers would see cannot be read.
func (s *objectStorage) readable(c *api.Change) error {
	if s.documents == nil {
		return nil
	}
	if known, ok := c.Shared().Load(readableSlot{s}); ok {
		return known.(converted).err
	}
	read := s.after
	if c.Deleted() {
		read = s.before
	}
	_, err := read(c)
	c.Shared().Store(readableSlot{s}, converted{err: err})
	return err
}

// converts says whether an object is stored in another version than its readers see.
func (s *objectStorage) converts(o runtime.Object) bool {
	doc, ok := o.(*api.Document)
	if !ok {
		return false
	}
	as := s.kind.New().GetObjectKind().GroupVersionKind()
	return !as.Empty() && as.GroupVersion().String() != doc.APIVersion
}

// documentOptions is a generic.RESTOptionsGetter for kinds that are not in the table. The server of custom resources wraps the codec.
type documentOptions struct {
	restOptions
	codec   runtime.Codec
	version runtime.GroupVersioner
}

func (d documentOptions) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return generic.RESTOptions{
		StorageConfig: &storagebackend.ConfigForResource{GroupResource: gr, Config: storagebackend.Config{
			Codec: d.codec, EncodeVersioner: d.version}},
		Decorator:               d.decorate,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          resourcePrefix(gr),
	}, nil
}

func (d documentOptions) decorate(c *storagebackend.ConfigForResource, prefix string, key func(runtime.Object) (string, error),
	newFunc, _ func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	cluster, err := clusterScoped(key, newFunc())
	if err != nil {
		return nil, nil, err
	}
	return &objectStorage{store: d.store, kind: &api.Kind{New: newFunc, ClusterScoped: cluster}, gr: c.GroupResource,
		prefix: prefix, slow: d.slow, documents: &documents{c.Codec}}, func() {}, nil
}

// clusterScoped finds out by the keys of a resource whether its objects are in namespaces.
func clusterScoped(key func(runtime.Object) (string, error), probe runtime.Object) (bool, error) {
	var keys [2]string
	for i, namespace := range []string{"a", "b"} {
		m := accessor(probe)
		m.SetNamespace(namespace)
		m.SetName("name")
		var err error
		if keys[i], err = key(probe); err != nil {
			return false, err
		}
	}
	return keys[0] == keys[1], nil
}
