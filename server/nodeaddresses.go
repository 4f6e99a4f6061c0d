package server

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// countPolicies follows how many there are. Nobody is told where the pods of other nodes are while there are none, so the first
// one comes after all that it may be about.
func (w *nodeWatch) countPolicies(c *api.Change) {
	switch {
	case c.New == nil:
		w.policies--
	case c.Old == nil:
		if w.policies++; w.policies == 1 {
			w.putAddresses(w.now())
		}
	}
}

// putAddresses tells where the pods of other nodes are. The picture may be newer than the changes that come next; the last of
// these says what it says.
func (w *nodeWatch) putAddresses(view *fsm.View) {
	view.Table(fsm.Pods).Pods(func(p *api.PodRecord) bool {
		if !w.nodes[p.Node] && fsm.AddressOf(p) != "" {
			w.putAddress(p, &api.Change{})
		}
		return w.err == nil
	})
}

// moved tells of a change of a pod of another node.
func (w *nodeWatch) moved(c *api.Change) error {
	if fsm.AddressOf(c.NewPod) != "" {
		w.putAddress(c.NewPod, c)
		return w.err
	}
	w.send(&wire.Event{Type: wire.EventDeleted, Resource: wire.PodAddresses, Namespace: c.Namespace, Name: c.Name, UID: string(c.OldPod.UID), Revision: c.Revision})
	return w.err
}

// addressKey is where a change keeps the encoding for all nodes that hear of it.
type addressKey struct{}

func (w *nodeWatch) putAddress(p *api.PodRecord, c *api.Change) {
	b, ok := c.Shared().Load(addressKey{})
	if !ok {
		encoded, err := addressed(p).Marshal()
		if err != nil {
			w.err = err
			return
		}
		b = encoded
		c.Shared().Store(addressKey{}, b)
	}
	w.send(&wire.Event{Type: wire.EventPut, Resource: wire.PodAddresses, Namespace: p.Namespace(), Name: p.Name, UID: string(p.UID), Object: b.([]byte), Revision: p.Revision})
}

// addressed is what policies of other nodes ask of a pod.
func addressed(p *api.PodRecord) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace(), Name: p.Name, UID: p.UID, Labels: p.Labels()}}
	out.Status.PodIP = p.Status.PodIP()
	if all := p.Status.Decode().PodIPs; len(all) > 1 {
		out.Status.PodIPs = all
	}
	spec := p.Spec()
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			var ports []corev1.ContainerPort
			for _, port := range list[i].Ports {
				if port.Name != "" {
					ports = append(ports, corev1.ContainerPort{Name: port.Name, Protocol: port.Protocol, ContainerPort: port.ContainerPort})
				}
			}
			if len(ports) > 0 {
				out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Ports: ports})
			}
		}
	}
	return out
}
