package api

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// shelf is storage of one claim with its volume.
type shelf struct {
	modes []corev1.PersistentVolumeAccessMode
	node  string
	err   error
}

func (s shelf) Claim(_, name string) (*corev1.PersistentVolumeClaim, error) {
	if name != "data" || s.err != nil {
		return nil, s.err
	}
	return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: s.modes, VolumeName: "pv"}}, nil
}

func (s shelf) Volume(string) (*corev1.PersistentVolume, error) {
	v := &corev1.PersistentVolume{}
	if s.node != "" {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{s.node}}}}}}}
	}
	return v, nil
}

func TestReplacementOf(t *testing.T) {
	const rwo, rwx, rox = corev1.ReadWriteOnce, corev1.ReadWriteMany, corev1.ReadOnlyMany
	modes := func(m ...corev1.PersistentVolumeAccessMode) shelf { return shelf{modes: m} }
	broken := errors.New("no server")
	for name, c := range map[string]struct {
		kind, claim, asked string
		from               shelf
		want               Replacement
		err                error
	}{
		"nobody's":                   {want: Stays},
		"nobody's with a claim":      {claim: "data", from: modes(rwo), want: Stays},
		"nobody's, asked for":        {asked: "on", want: Stays},
		"a StatefulSet's":            {kind: "StatefulSet", want: MovesFenced},
		"a StatefulSet's, tied":      {kind: "StatefulSet", claim: "data", from: shelf{node: "n1"}, want: Stays},
		"a StatefulSet's, asked off": {kind: "StatefulSet", asked: "off", want: Stays},
		"a ReplicaSet's":             {kind: "ReplicaSet", want: MovesAtOnce},
		"a ReplicaSet's, off":        {kind: "ReplicaSet", asked: "off", want: MovesAtOnce},
		"a ReplicaSet's, on":         {kind: "ReplicaSet", asked: "on", want: MovesFenced},
		"a Job's with a claim":       {kind: "Job", claim: "data", from: modes(rwo), want: MovesFenced},
		"one or many writers":        {kind: "ReplicaSet", claim: "data", from: modes(rwo, rwx), want: MovesAtOnce},
		"one writer, many readers":   {kind: "ReplicaSet", claim: "data", from: modes(rwo, rox), want: MovesFenced},
		"a claim that is not there":  {kind: "ReplicaSet", claim: "gone", from: modes(rwo), want: MovesAtOnce},
		"an operator's with a claim": {kind: "Database", claim: "data", from: modes(rwo), want: Stays},
		"an operator's, asked for":   {kind: "Database", asked: "on", want: MovesFenced},
		"a DaemonSet's, asked for":   {kind: "DaemonSet", asked: "on", want: Stays},
		"nobody knows":               {kind: "ReplicaSet", claim: "data", from: shelf{err: broken}, err: broken},
	} {
		p, yes := &corev1.Pod{}, true
		if c.kind != "" {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: c.kind, Controller: &yes}}
		}
		if c.asked != "" {
			p.Annotations = map[string]string{FencingAnnotation: c.asked}
		}
		if c.claim != "" {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.claim}}}}
		}
		if got, err := ReplacementOf(p, c.from); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
