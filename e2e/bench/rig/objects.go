package rig

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// Image is embedded in the binary.
const Image = "peapod/demo"

// Deployment of the demo image, whose pods carry the label app=NAME.
func Deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: PodSpec()}},
	}
}

// PodSpec is one container that serves HTTP on 8080.
func PodSpec() corev1.PodSpec {
	grace := int64(1)
	return corev1.PodSpec{TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{Name: "main", Image: Image, Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}}
}

// Service before the pods of a Deployment; a NodePort if port is not 0.
func Service(name string, nodePort int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080), NodePort: nodePort}}}}
	if nodePort != 0 {
		s.Spec.Type = corev1.ServiceTypeNodePort
	}
	return s
}

// Ready tells whether a pod is.
func Ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// NodeReady tells whether a node is.
func NodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// Pods of a Deployment or the like, by the label app.
func Pods(ctx context.Context, c kubernetes.Interface, app string) ([]corev1.Pod, error) {
	l, err := c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return nil, err
	}
	return l.Items, nil
}

// Endpoints are the ready endpoints of a service and the nodes that they are on.
func Endpoints(ctx context.Context, c kubernetes.Interface, service string) ([]Endpoint, error) {
	l, err := c.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		return nil, err
	}
	var out []Endpoint
	for _, s := range l.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready && e.NodeName != nil {
				out = append(out, Endpoint{*e.NodeName, e.Addresses[0]})
			}
		}
	}
	return out, nil
}

// Endpoint is one address behind a service.
type Endpoint struct{ Node, Address string }

// Await asks until ok says yes. A fault of asking is not final, since what is asked may be down.
func Await(ctx context.Context, every time.Duration, what string, ok func(context.Context) (bool, error)) error {
	var last error
	for {
		ask, cancel := context.WithTimeout(ctx, 3*time.Second)
		yes, err := ok(ask)
		cancel()
		if yes && err == nil {
			return nil
		}
		if err != nil {
			last = err
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last fault: %v)", what, ctx.Err(), last)
		}
	}
}

// AwaitReady waits until a Deployment has exactly n pods, all Ready.
func AwaitReady(ctx context.Context, c kubernetes.Interface, app string, n int) error {
	return Await(ctx, 25*time.Millisecond, fmt.Sprintf("%d ready pods of %s", n, app), func(ctx context.Context) (bool, error) {
		pods, err := Pods(ctx, c, app)
		ready := 0
		for i := range pods {
			if Ready(&pods[i]) {
				ready++
			}
		}
		return ready == n && len(pods) == n, err
	})
}

// AwaitNodes waits until the named nodes are Ready (or not).
func AwaitNodes(ctx context.Context, c kubernetes.Interface, ready bool, names ...string) error {
	return Await(ctx, 25*time.Millisecond, fmt.Sprintf("nodes %v ready=%v", names, ready), func(ctx context.Context) (bool, error) {
		for _, name := range names {
			n, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil || NodeReady(n) != ready {
				return false, err
			}
		}
		return true, nil
	})
}

// UIDs is a set that tells replacements from the old.
func UIDs(pods []corev1.Pod) map[string]bool {
	out := map[string]bool{}
	for i := range pods {
		out[string(pods[i].UID)] = true
	}
	return out
}
