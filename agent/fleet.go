package agent

import (
	"context"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Fleet is many simulated nodes in one. It keeps nothing of their pods: one that comes is reported as running at once, with every
// container ready and all init containers done, and one that is deleted is gone at once. So a node costs nothing but its name, and
// a process can have them by the ten thousand.
type Fleet struct {
	address netip.Addr // of all nodes
	writer  *statusWriter
}

// NewFleet makes a fleet; its reports go out while Run runs.
func NewFleet(address netip.Addr, control ControlPlane, log hclog.Logger) *Fleet {
	return &Fleet{address: address, writer: newStatusWriter(control, log)}
}

// Run reports until ctx ends.
func (f *Fleet) Run(ctx context.Context) { f.writer.run(ctx) }

// Put takes a pod of one of the nodes as it should be now.
func (f *Fleet) Put(pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		f.writer.remove(pod)
		return
	}
	if p := pod.Status.Phase; p != corev1.PodPending && p != "" {
		return // what an earlier report says is still so
	}
	status, err := f.running(pod, time.Now())
	if err == nil {
		f.writer.put(pod, status, false)
	}
}

// running is the encoded status that a node would report once the pod has come up.
func (f *Fleet) running(pod *corev1.Pod, now time.Time) ([]byte, error) {
	l := newLife(pod)
	l.synced, l.framed, l.sandbox, l.startTime = true, true, sandboxReady, now
	if !pod.Spec.HostNetwork {
		l.ips = []string{simulatedAddress(string(pod.UID)).String()}
	}
	for {
		a, _ := l.next(now)
		if a.kind != actStart {
			break
		}
		l.starting = nil
		a.c.image, a.c.imageID = a.c.spec.Image, a.c.spec.Image+"@sim"
		a.c.runs(now)
		a.c.started, a.c.ready = true, true
		if a.c.role == roleInit {
			a.c.ended(runtime.Container{ID: a.c.id, Started: now, Finished: now}, "")
		}
	}
	st := l.status([]netip.Addr{f.address}, now)
	return st.Marshal()
}

// simulatedAddress invents a pod's address, in a network that nobody routes.
func simulatedAddress(uid string) netip.Addr {
	h := fnv.New32a()
	h.Write([]byte(uid))
	v := h.Sum32()
	return netip.AddrFrom4([4]byte{100, 64 | byte(v>>16)&63, byte(v >> 8), byte(v)})
}
