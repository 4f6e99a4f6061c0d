package podstatus

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"
)

// Status is a pod's status in little memory. It never changes. The zero value is that of a pod without a status, which is Pending.
type Status struct {
	shape  *shape
	values string
}

// Compact takes a PodStatus, encoded as protobuf, apart. It keeps nothing of encoded. It fails if encoded does not decode.
func Compact(encoded []byte) (Status, error) {
	if len(encoded) == 0 {
		return Status{}, nil
	}
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	return p.compact(encoded)
}

func (p *parser) compact(encoded []byte) (Status, error) {
	if s := p.guess(encoded); s != nil {
		return Status{s, string(p.values)}, nil
	}
	if p.message(statusFields, encoded) {
		shape, err := shapes.find(p.key)
		if err != nil {
			return Status{}, err
		}
		s := Status{shape, string(p.values)}
		if p.again = p.check.AppendStored(p.again[:0], s); bytes.Equal(p.again, encoded) {
			p.remember(shape)
			return s, nil
		}
	}
	shape, err := shapes.find(appendLiteral(nil, encoded))
	return Status{shape: shape}, err
}

// Decode makes the typed status.
func (s Status) Decode() corev1.PodStatus {
	var out corev1.PodStatus
	if s.shape != nil {
		var e Expander
		_ = out.Unmarshal(e.AppendStored(nil, s)) // its shape has been decoded, and no value makes a difference
	}
	if out.Phase == "" {
		out.Phase = corev1.PodPending
	}
	return out
}

// Shape is what a status shares with others: statuses of one shape differ only in times, addresses, IDs, counts and messages. It can be
// compared, and is that of no status if it is zero.
type Shape struct{ of *shape }

// Shape of the status.
func (s Status) Shape() Shape { return Shape{s.shape} }

// Phase is never "": an empty one reads as Pending.
func (s Status) Phase() corev1.PodPhase {
	if s.shape == nil {
		return corev1.PodPending
	}
	return s.shape.phase
}

// Ready says whether condition Ready is True.
func (s Status) Ready() bool { return s.shape != nil && s.shape.ready }

// ReadySince is since when condition Ready is True, in seconds since 1970; 0 if it is not.
func (s Status) ReadySince() int64 {
	if !s.Ready() {
		return 0
	}
	if i := s.shape.readySinceAt; i >= 0 {
		return s.momentAt(i)
	}
	return s.shape.readySince
}

// PodIP is the pod's address; "" if it has none.
func (s Status) PodIP() string {
	if s.shape == nil {
		return ""
	}
	if i := s.shape.podIPAt; i >= 0 {
		return s.textAt(i)
	}
	return s.shape.podIP
}

// SamePodIP says whether the pods' addresses are the same.
func (s Status) SamePodIP(other Status) bool {
	return s == other || s.PodIP() == other.PodIP()
}
