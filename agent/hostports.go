package agent

import corev1 "k8s.io/api/core/v1"

// HasHostPorts tells whether the node is to forward ports of its own to the pod.
func HasHostPorts(pod *corev1.Pod) bool {
	if pod.Spec.HostNetwork {
		return false
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort > 0 {
					return true
				}
			}
		}
	}
	return false
}

func (w *worker) tellChanged() {
	if f := w.a.cfg.PodChanged; f != nil {
		f(HasHostPorts(w.life.pod))
	}
}
