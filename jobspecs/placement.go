package jobspecs

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// nodePoolLabel and nodeClassLabel are the labels of a node for Nomad's pool and class.
const (
	nodePoolLabel  = "peapod.io/node-pool"
	nodeClassLabel = "peapod.io/node-class"
)

// nodeLabels are the labels behind Nomad's names for what a node is.
var nodeLabels = map[string]string{
	"node.unique.name": corev1.LabelHostname, "node.unique.id": corev1.LabelHostname, "attr.unique.hostname": corev1.LabelHostname,
	"node.datacenter": corev1.LabelTopologyZone, "node.region": corev1.LabelTopologyRegion,
	"node.pool": nodePoolLabel, "node.class": nodeClassLabel,
	"attr.kernel.name": corev1.LabelOSStable, "attr.os.name": corev1.LabelOSStable,
	"attr.cpu.arch": corev1.LabelArchStable,
}

// placement reads where a job, group or task may run (required) and had better run (preferred).
func (b *block) placement() (required []corev1.NodeSelectorRequirement, preferred []corev1.PreferredSchedulingTerm) {
	if b.kind == "job" {
		required = b.pools()
	}
	for _, c := range b.blocks {
		if c.Type != "constraint" && c.Type != "affinity" {
			continue
		}
		inner := b.open(c.Type, c.Body, c.Labels, c.DefRange, b.scope)
		r, ok := inner.requirement()
		if !ok {
			continue
		}
		if c.Type == "constraint" {
			required = append(required, r)
			continue
		}
		if p, ok := inner.preference(r); ok {
			preferred = append(preferred, p)
		}
	}
	return required, preferred
}

// pools are datacenters and node_pool.
func (b *block) pools() (out []corev1.NodeSelectorRequirement) {
	if zones := b.texts("datacenters"); len(zones) > 0 && !slices.Contains(zones, "*") {
		out = append(out, corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: zones})
	}
	if pool := b.text("node_pool"); pool != "" && pool != "default" && pool != "all" {
		out = append(out, corev1.NodeSelectorRequirement{Key: nodePoolLabel, Operator: corev1.NodeSelectorOpIn, Values: []string{pool}})
	}
	return out
}

func (b *block) requirement() (r corev1.NodeSelectorRequirement, ok bool) {
	if b.truth("distinct_hosts") || b.has("distinct_property") || strings.HasPrefix(b.text("operator"), "distinct") {
		b.fault(b.at, "distinct hosts are not possible yet: a static port keeps pods of a group on different nodes")
		return r, false
	}
	key, ok := b.nodeLabel()
	if !ok {
		return r, false
	}
	r.Key = key
	value := b.text("value")
	switch op := b.text("operator"); op {
	case "", "=", "==", "is":
		r.Operator, r.Values = corev1.NodeSelectorOpIn, []string{value}
	case "!=", "not":
		r.Operator, r.Values = corev1.NodeSelectorOpNotIn, []string{value}
	case ">":
		r.Operator, r.Values = corev1.NodeSelectorOpGt, []string{value}
	case "<":
		r.Operator, r.Values = corev1.NodeSelectorOpLt, []string{value}
	case "set_contains_any":
		r.Operator, r.Values = corev1.NodeSelectorOpIn, strings.Split(value, ",")
	case "is_set":
		r.Operator = corev1.NodeSelectorOpExists
	case "is_not_set":
		r.Operator = corev1.NodeSelectorOpDoesNotExist
	default:
		b.fault(b.where("operator"), "operator %q is not possible here: labels of nodes are compared with =, !=, <, >, set_contains_any, is_set and is_not_set", op)
		return r, false
	}
	return r, b.checkValues(r)
}

// checkValues finds what the API would refuse.
func (b *block) checkValues(r corev1.NodeSelectorRequirement) bool {
	for _, v := range r.Values {
		if r.Operator == corev1.NodeSelectorOpGt || r.Operator == corev1.NodeSelectorOpLt {
			if !isWhole(v) {
				b.fault(b.where("value"), "< and > compare whole numbers, and %q is none", v)
				return false
			}
		} else if faults := validation.IsValidLabelValue(v); len(faults) > 0 {
			b.fault(b.where("value"), "value %q: %s", v, faults[0])
			return false
		}
	}
	return true
}

func isWhole(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && len(s) < 19 && strings.Trim(s, "0123456789") == ""
}

// nodeLabel is the label that an attribute names: one of Nomad's, ${meta.x}, or a label's own name.
func (b *block) nodeLabel() (key string, ok bool) {
	text := b.raw("attribute")
	key = text
	if m := runtimeReference.FindStringSubmatch(text); m != nil {
		ref := m[1]
		label, isMeta := strings.CutPrefix(ref, "meta.")
		if !isMeta {
			label = nodeLabels[ref]
		}
		if label == "" || m[0] != text {
			b.fault(b.where("attribute"), "no label of a node tells ${%s}: label the nodes (`peapod label node NAME KEY=VALUE`) and write ${meta.KEY}", ref)
			return "", false
		}
		key = label
	}
	if faults := validation.IsQualifiedName(key); len(faults) > 0 {
		b.fault(b.where("attribute"), "attribute %q names no label of a node: %s", key, faults[0])
		return "", false
	}
	return key, true
}

// preference weighs a requirement; a negative weight turns it around.
func (b *block) preference(r corev1.NodeSelectorRequirement) (p corev1.PreferredSchedulingTerm, ok bool) {
	weight, given := b.number("weight", -100, 100)
	switch {
	case !given && b.has("weight"):
		return p, false
	case !given:
		weight = 50
	case weight == 0:
		b.fault(b.where("weight"), "a weight of 0 says nothing")
		return p, false
	case weight < 0:
		turned := map[corev1.NodeSelectorOperator]corev1.NodeSelectorOperator{
			corev1.NodeSelectorOpIn: corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpNotIn: corev1.NodeSelectorOpIn,
			corev1.NodeSelectorOpExists: corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpDoesNotExist: corev1.NodeSelectorOpExists,
		}[r.Operator]
		if turned == "" {
			b.fault(b.where("weight"), "a negative weight can't turn %s around; write the opposite", b.text("operator"))
			return p, false
		}
		r.Operator, weight = turned, -weight
	}
	return corev1.PreferredSchedulingTerm{
		Weight:     int32(weight), // #nosec G115 -- at most 100
		Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{r}},
	}, true
}

func affinity(required []corev1.NodeSelectorRequirement, preferred []corev1.PreferredSchedulingTerm) *corev1.Affinity {
	if len(required) == 0 && len(preferred) == 0 {
		return nil
	}
	n := &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: preferred}
	if len(required) > 0 {
		n.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: required}},
		}
	}
	return &corev1.Affinity{NodeAffinity: n}
}
