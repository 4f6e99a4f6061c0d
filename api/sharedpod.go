package api

import (
	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
)

var (
	podSpecs    cache[corev1.PodSpec, *corev1.PodSpec]
	podStatuses cache[corev1.PodStatus, *corev1.PodStatus]
)

// DecodeSharedPod is a pod's Unmarshal for whoever changes nothing of it. The pods of a template differ in their names and nodes, and their
// statuses hardly while they wait: of many that come one after the other, specs and statuses are decoded once.
func DecodeSharedPod(b []byte) (*corev1.Pod, error) {
	p := &corev1.Pod{}
	if ok, err := decodePodParts(p, b); ok || err != nil {
		return p, err
	}
	p = &corev1.Pod{}
	return p, p.Unmarshal(b)
}

// decodePodParts is false for a pod that is not written as Marshal writes it: every part once, and in order.
func decodePodParts(p *corev1.Pod, b []byte) (ok bool, err error) {
	meta, b, ok := cutField(b, metadataField)
	if !ok {
		return false, nil
	}
	spec, b, ok := cutField(b, specField)
	if !ok {
		return false, nil
	}
	status, b, ok := cutField(b, statusField)
	if !ok || len(b) > 0 {
		return false, nil
	}
	head, node, tail, ok := cutNode(spec)
	if !ok {
		return false, nil
	}
	if err := p.ObjectMeta.Unmarshal(meta); err != nil {
		return false, err
	}
	if err := podSpecs.decode(&p.Spec, head, tail); err != nil {
		return false, err
	}
	if p.Spec.NodeName != "" {
		return false, nil // it is written twice
	}
	p.Spec.NodeName = string(node)
	return true, podStatuses.decode(&p.Status, status, nil)
}

// cutNode takes the node's name out of a spec.
func cutNode(spec []byte) (head, node, tail []byte, ok bool) {
	for rest := spec; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 || number > specNode {
			break
		}
		if number == specNode && kind == protowire.BytesType {
			value, size := protowire.ConsumeBytes(rest[n:])
			if size < 0 {
				break
			}
			return spec[:len(spec)-len(rest)], value, rest[n+size:], true
		}
		size := protowire.ConsumeFieldValue(number, kind, rest[n:])
		if size < 0 {
			break
		}
		rest = rest[n+size:]
	}
	return nil, nil, nil, false
}
