package podstatus

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// shape is what statuses share. It is immutable but for what it remembers.
type shape struct {
	steps []step
	holes []hole
	// plain says that a typed status encodes to the bytes that it was decoded from: each value is in it, once.
	plain bool

	phase        corev1.PodPhase
	phaseMeant   bool // and not said
	podIP        string
	podIPAt      int // the value that is the pod's address; -1 if podIP is it
	ready        bool
	readySince   int64
	readySinceAt int // likewise

	json func() *jsonParts // made when first asked for
}

// step is one step of putting a message together.
type step struct {
	op byte
	// bytes come first: a literal, and the tag of what is written.
	bytes []byte
}

// hole is where a value goes.
type hole struct {
	kind   kind
	prefix string // of a text
}

// cache finds shapes by their keys, as long as a status has them. Whether it finds one cannot be seen from outside.
type cache struct {
	mu    sync.Mutex
	byKey map[string]weak.Pointer[shape]
}

var shapes = &cache{byKey: map[string]weak.Pointer[shape]{}}

func (c *cache) find(key []byte) (*shape, error) {
	c.mu.Lock()
	known := c.byKey[string(key)].Value()
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	own := string(key)
	s, err := newShape(own)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.byKey[own].Value(); known != nil {
		return known, nil
	}
	c.byKey[own] = weak.Make(s)
	runtime.AddCleanup(s, c.forget, own)
	return s, nil
}

func (c *cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key].Value() == nil {
		delete(c.byKey, key)
	}
}

// newShape reads a parser's key. It fails if no status of the shape decodes.
func newShape(key string) (*shape, error) {
	s := &shape{}
	for len(key) > 0 {
		key = s.step(key[0], key[1:])
	}
	marked := s.appendProto(nil, s.marks())
	var typed corev1.PodStatus
	if err := typed.Unmarshal(marked); err != nil {
		return nil, fmt.Errorf("decoding a pod's status: %w", err)
	}
	s.derive(&typed)
	again, err := typed.Marshal()
	s.plain = err == nil && string(again) == string(marked)
	s.json = sync.OnceValue(s.cutJSON)
	return s, nil
}

// step reads one step of a key and returns what follows it.
func (s *shape) step(op byte, key string) (rest string) {
	if op == stepEnd {
		s.add(op, nil)
		return key
	}
	n, size := uvarint(key)
	key = key[size:]
	wire := protowire.BytesType
	switch op {
	case stepLiteral:
		s.add(op, []byte(key[:n]))
		return key[n:]
	case stepText:
		length := int(key[0])
		s.holes = append(s.holes, hole{text, key[1 : 1+length]})
		key = key[1+length:]
	case stepMoment:
		s.holes = append(s.holes, hole{kind: moment})
	case stepNumber:
		wire = protowire.VarintType
		s.holes = append(s.holes, hole{kind: number})
	}
	s.add(op, protowire.AppendTag(nil, protowire.Number(n), wire))
	return key
}

// add appends a step, or makes one of it and a literal before it.
func (s *shape) add(op byte, bytes []byte) {
	if last := len(s.steps) - 1; last >= 0 && s.steps[last].op == stepLiteral {
		s.steps[last] = step{op, append(s.steps[last].bytes, bytes...)}
		return
	}
	s.steps = append(s.steps, step{op, bytes})
}

// appendProto puts a status together.
func (s *shape) appendProto(b []byte, values []value) []byte {
	var begun [fieldsDepth]int
	depth, at := 0, 0
	for i := range s.steps {
		step := &s.steps[i]
		b = append(b, step.bytes...)
		switch step.op {
		case stepBegin:
			b = append(b, 0)
			begun[depth] = len(b)
			depth++
		case stepEnd:
			depth--
			b = putLength(b, begun[depth])
		case stepText:
			b = protowire.AppendBytes(b, values[at].text)
			at++
		case stepNumber:
			b = binary.AppendUvarint(b, uint64(values[at].number))
			at++
		case stepMoment:
			b = appendMoment(b, values[at].number)
			at++
		}
	}
	return b
}

// putLength writes the length of what is from start on into the byte before it, and makes more room if that is too little.
func putLength(b []byte, start int) []byte {
	n := len(b) - start
	if n < 0x80 {
		b[start-1] = byte(n)
		return b
	}
	size := protowire.SizeVarint(uint64(n))
	for range size - 1 {
		b = append(b, 0)
	}
	copy(b[start-1+size:], b[start:start+n])
	binary.PutUvarint(b[start-1:], uint64(n))
	return b
}

func appendMoment(b []byte, seconds int64) []byte {
	start := len(b) + 1
	b = append(b, 0, timeSeconds)
	b = append(binary.AppendUvarint(b, uint64(seconds)), timeNanos, 0)
	b[start-1] = byte(len(b) - start)
	return b
}

// Marks stand for values while a shape is decoded, to find out what becomes of them.
const (
	markText   = "peapod-value-"
	markMoment = 253370764800 // in the year 9998
	markNumber = 1_804_281_000
)

func (s *shape) marks() []value {
	out := make([]value, len(s.holes))
	for i, h := range s.holes {
		switch h.kind {
		case text:
			out[i].text = []byte(h.prefix + markText + strconv.Itoa(i) + "-")
		case moment:
			out[i].number = markMoment + int64(i)
		case number:
			out[i].number = markNumber + int64(i)
		}
	}
	return out
}

// derive remembers what is asked of many statuses.
func (s *shape) derive(marked *corev1.PodStatus) {
	s.phase, s.readySinceAt = marked.Phase, -1
	if s.phase == "" {
		s.phase, s.phaseMeant = corev1.PodPending, true
	}
	s.podIP, s.podIPAt = s.textOf(marked.PodIP)
	for i := range marked.Conditions {
		if c := &marked.Conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			s.ready = true
			s.readySince, s.readySinceAt = s.momentOf(c.LastTransitionTime)
		}
	}
}

// textOf finds out which value a text stands for; -1 for none.
func (s *shape) textOf(mark string) (string, int) {
	for i, h := range s.holes {
		if h.kind == text && strings.TrimPrefix(mark, h.prefix) == markText+strconv.Itoa(i)+"-" {
			return "", i
		}
	}
	return mark, -1
}

func (s *shape) momentOf(mark metav1.Time) (int64, int) {
	i := mark.Unix() - markMoment
	if i >= 0 && i < int64(len(s.holes)) && s.holes[i].kind == moment && mark.Equal(&metav1.Time{Time: time.Unix(mark.Unix(), 0)}) {
		return 0, int(i)
	}
	return mark.Unix(), -1
}
