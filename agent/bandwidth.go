package agent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Annotations of a pod that limit its traffic, in bits a second ("10M").
const (
	ingressBandwidth = "kubernetes.io/ingress-bandwidth"
	egressBandwidth  = "kubernetes.io/egress-bandwidth"
)

var (
	bandwidthMin = resource.MustParse("1k")
	bandwidthMax = resource.MustParse("1P")
)

// shape limits the pod's bandwidth as its annotations say.
func (a *Agent) shape(ctx context.Context, pod *corev1.Pod, netns string) error {
	ingress, err := bandwidth(pod, ingressBandwidth)
	if err != nil {
		return err
	}
	egress, err := bandwidth(pod, egressBandwidth)
	if err != nil {
		return err
	}
	if ingress > 0 || egress > 0 {
		return a.cfg.Network.Shape(ctx, string(pod.UID), netns, ingress, egress)
	}
	return nil
}

// bandwidth reads one of the annotations, in bits a second; 0 is no limit.
func bandwidth(pod *corev1.Pod, annotation string) (uint64, error) {
	text, ok := pod.Annotations[annotation]
	if !ok {
		return 0, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, fmt.Errorf("annotation %s: %q is no quantity: %w", annotation, text, err)
	}
	if q.Cmp(bandwidthMin) < 0 || q.Cmp(bandwidthMax) > 0 {
		return 0, fmt.Errorf("annotation %s: %s is not between %s and %s bits a second", annotation, text, bandwidthMin.String(), bandwidthMax.String())
	}
	return uint64(q.Value()), nil
}
