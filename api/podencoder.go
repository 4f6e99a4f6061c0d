package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/podstatus"
)

// PodEncoder encodes pods from their records, without making typed pods: what pods of a template share is encoded once, as long
// as such pods come one after the other, which lists in order of names most often have. The zero value is ready.
type PodEncoder struct {
	protoOf, jsonOf *PodTemplate
	proto           protoParts
	json            [2]jsonParts                // of pods without and with a node
	cut             map[*PodTemplate]protoParts // of templates whose pods come by turns, as in a node's watch

	statuses           podstatus.Expander
	meta, spec, status []byte // scratch
}

// protoParts is a template's protobuf with gaps for what is a pod's own.
type protoParts struct{ metaHead, metaTail, specHead, specTail []byte }

// Numbers of fields in Kubernetes' protobuf messages.
const (
	podMeta, podSpec, podStatus                               = 1, 2, 3
	metaName, metaUID, metaRevision, metaGeneration           = 1, 5, 6, 7
	metaCreated, metaDeleted, metaDeletionGrace, metaLabelled = 8, 9, 10, 11
	specNode                                                  = 10
)

// AppendProto appends the protobuf encoding of core/v1 Pod, byte for byte what the typed pod's would be.
func (e *PodEncoder) AppendProto(b []byte, r *PodRecord) ([]byte, error) {
	if r.Template.pinsToOwn() {
		whole, err := r.Pod().Marshal()
		return append(b, whole...), err
	}
	if e.protoOf != r.Template {
		if err := e.take(r.Template); err != nil {
			return nil, fmt.Errorf("reading the template of pod %s/%s: %w", r.Namespace(), r.Name, err)
		}
	}
	e.meta = appendString(e.meta[:0], metaName, r.Name)
	e.meta = append(e.meta, e.proto.metaHead...)
	e.meta = appendString(e.meta, metaUID, string(r.UID))
	e.meta = appendString(e.meta, metaRevision, strconv.FormatUint(r.Revision, 10))
	e.meta = appendNumber(e.meta, metaGeneration, r.Generation)
	e.meta = appendTime(e.meta, metaCreated, r.Created)
	if r.Deleting() {
		e.meta = appendTime(e.meta, metaDeleted, r.DeletionTime)
		e.meta = appendNumber(e.meta, metaDeletionGrace, r.DeletionGrace)
	}
	e.meta = append(e.meta, e.proto.metaTail...)

	e.spec = append(e.spec[:0], e.proto.specHead...)
	e.spec = appendString(e.spec, specNode, r.Node)
	e.spec = append(e.spec, e.proto.specTail...)

	b = appendBytes(b, podMeta, e.meta)
	b = appendBytes(b, podSpec, e.spec)
	var err error
	e.status, err = e.statuses.AppendProto(e.status[:0], r.Status)
	return appendBytes(b, podStatus, e.status), err
}

// templatesKept bounds the templates that an encoder remembers.
const templatesKept = 32

// take makes a template the one whose pods are encoded.
func (e *PodEncoder) take(t *PodTemplate) (err error) {
	parts, known := e.cut[t]
	if !known {
		if parts, err = cutProto(t.Encoded); err != nil {
			return err
		}
		if len(e.cut) >= templatesKept || e.cut == nil {
			e.cut = map[*PodTemplate]protoParts{}
		}
		e.cut[t] = parts
	}
	e.protoOf, e.proto = t, parts
	return nil
}

func cutProto(pod []byte) (p protoParts, err error) {
	err = eachField(pod, func(number protowire.Number, _, value []byte) {
		switch number {
		case podMeta:
			p.metaHead, p.metaTail, err = cutFields(value, metaName, metaLabelled-1)
		case podSpec:
			if err == nil {
				p.specHead, p.specTail, err = cutFields(value, specNode, specNode)
			}
		}
	})
	return p, err
}

// cutFields drops the fields of a pod's own from a message whose fields are in order: in metadata that is the name, and what is
// from the UID to the deletion; in the spec the node.
func cutFields(message []byte, first, last protowire.Number) (head, tail []byte, err error) {
	own := func(n protowire.Number) bool {
		return n == first || n == last || first == metaName && n >= metaUID && n <= last
	}
	err = eachField(message, func(number protowire.Number, field, _ []byte) {
		switch {
		case own(number):
		case number < last:
			head = append(head, field...)
		default:
			tail = append(tail, field...)
		}
	})
	return head, tail, err
}

// eachField yields a message's fields: whole, and the value of those that have a length.
func eachField(message []byte, yield func(number protowire.Number, field, value []byte)) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, message[n:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		var value []byte
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(message[n:])
		}
		yield(number, message[:n+size], value)
		message = message[n+size:]
	}
	return nil
}

func appendString(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func appendBytes(b []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
}

func appendNumber(b []byte, number protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(n))
}

// noTime is the zero time in seconds: that of a pod without a time of creation.
var noTime = time.Time{}.Unix()

// appendTime appends a time of whole seconds.
func appendTime(b []byte, number protowire.Number, seconds int64) []byte {
	if seconds == noTime {
		return appendBytes(b, number, nil)
	}
	var t [24]byte
	return appendBytes(b, number, appendNumber(appendNumber(t[:0], 1, seconds), 2, 0))
}

// jsonParts is the JSON of a template's pods, cut at what is a pod's own: name, UID, revision, generation, time of creation, node
// (if it has one) and status, in this order. It is empty if the template cannot be cut.
type jsonParts [][]byte

// Marks stand for a pod's own values while a template is encoded. A template that has one of them by itself is not cut.
const (
	markName       = "peapod-mark-0-name"
	markUID        = "peapod-mark-1-uid"
	markRevision   = "peapod-mark-2-revision"
	markGeneration = 7305186294061273089
	markCreated    = 253370764799 // in the year 9998
	markNode       = "peapod-mark-5-node"
)

// AppendJSON appends the JSON of core/v1 Pod, byte for byte what encoding/json makes of the typed pod.
func (e *PodEncoder) AppendJSON(b []byte, r *PodRecord) ([]byte, error) {
	if e.jsonOf != r.Template {
		e.jsonOf, e.json = r.Template, [2]jsonParts{}
	}
	parts, err := e.jsonParts(r)
	if err != nil || len(parts) == 0 || r.Generation == 0 || r.Created == noTime {
		whole, err := json.Marshal(r.Pod())
		return append(b, whole...), err
	}
	b = podstatus.AppendQuoted(append(b, parts[0]...), r.Name)
	b = podstatus.AppendQuoted(append(b, parts[1]...), string(r.UID))
	b = podstatus.AppendQuoted(append(b, parts[2]...), strconv.FormatUint(r.Revision, 10))
	b = strconv.AppendInt(append(b, parts[3]...), r.Generation, 10)
	b = podstatus.AppendTimestamp(append(b, parts[4]...), r.Created)
	if r.Deleting() {
		b = podstatus.AppendTimestamp(append(b, `,"deletionTimestamp":`...), r.DeletionTime)
		b = strconv.AppendInt(append(b, `,"deletionGracePeriodSeconds":`...), r.DeletionGrace, 10)
	}
	rest := parts[5:]
	if r.Node != "" {
		b = podstatus.AppendQuoted(append(b, rest[0]...), r.Node)
		rest = rest[1:]
	}
	b, err = e.statuses.AppendJSON(append(b, rest[0]...), r.Status)
	return append(b, '}'), err
}

func (e *PodEncoder) jsonParts(r *PodRecord) (jsonParts, error) {
	i := 0
	if r.Node != "" {
		i = 1
	}
	if e.json[i] == nil {
		parts, err := cutJSON(r.Template.Pod, r.Node != "")
		if err != nil {
			return nil, err
		}
		e.json[i] = parts
	}
	return e.json[i], nil
}

func cutJSON(template *corev1.Pod, node bool) (jsonParts, error) {
	if own, pinned := PinnedTo(&template.Spec); pinned && own == "" {
		return jsonParts{}, nil
	}
	p := *template
	p.Name, p.UID, p.ResourceVersion, p.Generation = markName, types.UID(markUID), markRevision, markGeneration
	p.CreationTimestamp = metav1.Unix(markCreated, 0)
	marks := []string{strconv.Quote(markName), strconv.Quote(markUID), strconv.Quote(markRevision), strconv.Itoa(markGeneration),
		string(podstatus.AppendTimestamp(nil, markCreated))}
	if node {
		p.Spec.NodeName = markNode
		marks = append(marks, strconv.Quote(markNode))
	}
	rest, err := json.Marshal(&p)
	if err != nil {
		return nil, err
	}
	parts := jsonParts{}
	for _, m := range marks {
		if bytes.Count(rest, []byte(m)) != 1 {
			return jsonParts{}, nil
		}
		before, after, _ := bytes.Cut(rest, []byte(m))
		parts, rest = append(parts, before), after
	}
	last, ok := bytes.CutSuffix(rest, []byte("{}}")) // the status
	if !ok {
		return jsonParts{}, nil
	}
	return append(parts, last), nil
}
