package agent

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pods of simulated nodes are reported running once, with all that they ask for done, and go when they are deleted.
func TestFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.agent = New(Config{NodeName: "sim-1", Executor: newScripted(nil), Images: c, Network: c, ControlPlane: c})
		f := NewFleet(netip.MustParseAddr("192.0.2.9"), c, hclog.NewNullLogger())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go f.Run(ctx)

		always := corev1.ContainerRestartPolicyAlways
		p := podOf("a", "b")
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "x:1"}, {Name: "s", Image: "x:1", RestartPolicy: &always}}
		p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].StartupProbe = &corev1.Probe{}, &corev1.Probe{}
		q := podOf("a")
		q.UID, q.Spec.HostNetwork = "uid-2", true
		for _, pod := range []*corev1.Pod{p, q} {
			c.pods[pod.UID] = pod
			f.Put(pod)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for uid, ip := range map[types.UID]string{"uid-1": "100.", "uid-2": "192.0.2.9"} {
			st := c.get(uid).Status
			want(t, "phase", st.Phase, corev1.PodRunning)
			want(t, "Ready", isTrueCondition(c.get(uid), corev1.PodReady), true)
			want(t, "address", st.PodIP[:len(ip)], ip)
		}
		st := c.get("uid-1").Status
		want(t, "init", st.InitContainerStatuses[0].State.Terminated.Reason, "Completed")
		want(t, "sidecar", brief(st.InitContainerStatuses[1]), "running")
		want(t, "restarts", st.ContainerStatuses[0].RestartCount, 0)

		rows := c.rows
		f.Put(c.get("uid-1")) // as after a new watch
		deleted := *q
		at := metav1.Now()
		deleted.DeletionTimestamp = &at
		f.Put(&deleted)
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, "known", c.get("uid-2") == nil, true)
		want(t, "rows", c.rows, rows)
	})
}
