package api

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DecodeShared is Decode for objects that nobody will change. A workload is written again and again with nothing new but its status: what is
// as it was a moment ago is not decoded once more, and the two objects have it in common.
func DecodeShared(gr schema.GroupResource, b []byte) (runtime.Object, error) {
	if join := sharers[gr]; join != nil {
		if p, ok := partsOf(b); ok {
			return join(p)
		}
	}
	return Decode(gr, b)
}

// sharers decode workloads from their parts. Kinds that have a Restore are not among them.
var sharers = map[schema.GroupResource]func(objectParts) (runtime.Object, error){
	{Group: "apps", Resource: "deployments"}: func(p objectParts) (runtime.Object, error) {
		d := &appsv1.Deployment{}
		err := p.decode(&d.ObjectMeta, func(b []byte) error { return deploymentSpecs.decode(&d.Spec, b, nil) }, d.Status.Unmarshal)
		return d, err
	},
	{Group: "apps", Resource: "replicasets"}: func(p objectParts) (runtime.Object, error) {
		r := &appsv1.ReplicaSet{}
		err := p.decode(&r.ObjectMeta, func(b []byte) error { return replicaSetSpecs.decode(&r.Spec, b, nil) }, r.Status.Unmarshal)
		return r, err
	},
}

var (
	metas           cache[metav1.ObjectMeta, *metav1.ObjectMeta]
	deploymentSpecs cache[appsv1.DeploymentSpec, *appsv1.DeploymentSpec]
	replicaSetSpecs cache[appsv1.ReplicaSetSpec, *appsv1.ReplicaSetSpec]
)

// objectParts is an object's protobuf form, cut. The metadata come without the revision, which is another one each time.
type objectParts struct {
	head, tail   []byte // metadata before the revision and behind it
	revision     []byte
	spec, status []byte
}

// Numbers of fields in Kubernetes' protobuf forms.
const (
	metadataField = 1
	specField     = 2
	statusField   = 3
	revisionField = 6
)

// partsOf cuts an object that is written as Encode writes it: every part once, and in order.
func partsOf(b []byte) (p objectParts, ok bool) {
	meta, b, ok := cutField(b, metadataField)
	if !ok {
		return p, false
	}
	if p.spec, b, ok = cutField(b, specField); !ok {
		return p, false
	}
	if p.status, b, ok = cutField(b, statusField); !ok || len(b) > 0 {
		return p, false
	}
	rest := meta
	for field := metadataField; field < revisionField; field++ { // strings, each of which is written even if it is empty
		if _, rest, ok = cutField(rest, field); !ok {
			return p, false
		}
	}
	p.head = meta[:len(meta)-len(rest)]
	p.revision, p.tail, ok = cutField(rest, revisionField)
	return p, ok
}

// cutField takes a field of bytes off the front of b.
func cutField(b []byte, field int) (value, rest []byte, ok bool) {
	const ofBytes = 2 // protobuf's wire type
	if len(b) == 0 || b[0] != byte(field<<3|ofBytes) {
		return nil, nil, false
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || n > uint64(len(b)-1-size) {
		return nil, nil, false
	}
	end := 1 + size + int(n)
	return b[1+size : end], b[end:], true
}

func (p *objectParts) decode(meta *metav1.ObjectMeta, spec, status func([]byte) error) error {
	if err := metas.decode(meta, p.head, p.tail); err != nil {
		return err
	}
	meta.ResourceVersion = string(p.revision)
	if err := spec(p.spec); err != nil {
		return err
	}
	return status(p.status)
}

const (
	// cachedParts is how many parts of a kind are remembered, cachedBytesMax how long each of them may be: some megabytes in all.
	cachedParts    = 2048
	cachedBytesMax = 4 << 10
)

// cache remembers what parts decoded to, each in the place that its hash says: the newer one stays.
type cache[T any, P interface {
	*T
	Unmarshal([]byte) error
}] struct {
	places [cachedParts]atomic.Pointer[decoded[T]]
}

type decoded[T any] struct {
	head, tail string
	value      T
}

var cacheSeed = maphash.MakeSeed()

// decode makes out what head and tail together decode to, by a shallow copy if that is remembered.
func (c *cache[T, P]) decode(out P, head, tail []byte) error {
	if len(head)+len(tail) > cachedBytesMax {
		return unmarshalBoth(out, head, tail)
	}
	place := &c.places[(maphash.Bytes(cacheSeed, head)^maphash.Bytes(cacheSeed, tail))%cachedParts]
	if d := place.Load(); d != nil && d.head == string(head) && d.tail == string(tail) {
		*out = d.value
		return nil
	}
	if err := unmarshalBoth(out, head, tail); err != nil {
		return err
	}
	place.Store(&decoded[T]{string(head), string(tail), *out})
	return nil
}

// unmarshalBoth reads two runs of fields: a message may be read in pieces, since Unmarshal adds to what is there.
func unmarshalBoth(out interface{ Unmarshal([]byte) error }, head, tail []byte) error {
	if err := out.Unmarshal(head); err != nil {
		return err
	}
	return out.Unmarshal(tail)
}
