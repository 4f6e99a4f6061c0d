package agent

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// Whatever containers do and whenever agents are restarted and pods deleted: no container is started twice
// or beside itself (scripted checks that), a pod that is deleted leaves nothing, one that is not ends up in
// the state its policy says.
// Invariant 23.
func TestPodsComeToTheRightEnd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type plan struct {
			policy   corev1.RestartPolicy
			inits    int
			mains    int
			lookAt   int // seconds: an ephemeral container is added; negative never
			deleteAt int // the same
			grace    int64
		}
		plans := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) plan {
			return plan{
				policy: rapid.SampledFrom([]corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}).Draw(r, "policy"),
				inits:  rapid.IntRange(0, 2).Draw(r, "inits"), mains: rapid.IntRange(1, 3).Draw(r, "mains"),
				lookAt:   rapid.IntRange(-20, 60).Draw(r, "lookAt"),
				deleteAt: rapid.IntRange(-40, 60).Draw(r, "deleteAt"), grace: rapid.Int64Range(0, 20).Draw(r, "grace"),
			}
		}), 1, 4).Draw(rt, "pods")
		seed := rapid.IntRange(0, 1<<20).Draw(rt, "seed")
		restarts := rapid.SliceOfN(rapid.IntRange(0, 70), 0, 4).Draw(rt, "agent restarts")
		latency := rapid.IntRange(0, 1500).Draw(rt, "latency ms")

		var failure string
		synctest.Test(t, func(t *testing.T) {
			exec := newScripted(func(name string, attempt int) behaviour { return chance(seed, name, attempt) })
			exec.latency = time.Duration(latency) * time.Millisecond
			w := newWorld(t, exec)
			defer w.close()
			for i, pl := range plans {
				p := podOf()
				p.Name, p.UID, p.Spec.RestartPolicy = fmt.Sprint("p", i), types.UID(fmt.Sprint("uid-", i)), pl.policy
				for k := range pl.inits {
					p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: fmt.Sprintf("%d-i%d", i, k), Image: "x:1"})
				}
				for k := range pl.mains {
					p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprintf("%d-c%d", i, k), Image: "x:1"})
				}
				w.put(p)
			}
			for s := range 75 {
				for i, pl := range plans {
					if p := w.get(types.UID(fmt.Sprint("uid-", i))); p != nil && pl.lookAt == s {
						w.put(debugged(p, fmt.Sprintf("%d-e", i)))
					}
					if pl.deleteAt == s {
						w.delete(types.UID(fmt.Sprint("uid-", i)), pl.grace)
					}
				}
				for _, r := range restarts {
					if r == s {
						w.stop()
						w.after(137 * time.Millisecond)
						w.boot()
					}
				}
				w.after(time.Second)
			}
			w.after(2 * time.Hour)
			for i, pl := range plans {
				p := w.get(types.UID(fmt.Sprint("uid-", i)))
				if msg := judge(p, pl.deleteAt >= 0, exec, fmt.Sprint("uid-", i)); msg != "" {
					failure = msg
				}
			}
			if len(exec.faults) > 0 {
				failure = exec.faults[0]
				exec.faults = nil
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// chance is a behaviour that depends on nothing but its arguments. In the end every container that may be
// started again settles.
func chance(seed int, name string, attempt int) behaviour {
	h := seed
	for _, c := range fmt.Sprint(name, attempt) {
		h = h*31 + int(c)
	}
	h &= 1<<30 - 1
	b := behaviour{onTerm: time.Duration(h%5-1) * 3 * time.Second}
	if attempt >= 3 {
		if name[2] == 'i' {
			b.runs = time.Second
		}
		return b
	}
	switch h / 7 % 4 {
	case 0:
		b.runs = time.Duration(1+h/3%20) * 500 * time.Millisecond
	case 1:
		b.runs, b.code = time.Duration(1+h/5%20)*300*time.Millisecond, 1+h%3
	case 2:
		b.startFail = fmt.Errorf("start %d", h)
	default:
		if name[2] == 'i' {
			b.runs = time.Second
		}
	}
	return b
}

// judge says what is wrong with a pod's last state.
func judge(p *corev1.Pod, deleted bool, exec *scripted, uid string) string {
	box := exec.boxes[uid]
	if deleted {
		if p != nil || box != nil {
			return fmt.Sprintf("%s was deleted: pod left %v, sandbox left %v", uid, p != nil, box != nil)
		}
		return ""
	}
	running := 0
	if box != nil {
		for _, c := range box.Containers {
			if c.Running {
				running++
			}
		}
	}
	switch p.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed:
		if box != nil {
			return uid + " has ended and its sandbox is left"
		}
		if p.Spec.RestartPolicy == corev1.RestartPolicyAlways {
			return uid + " has ended although it is to be restarted always"
		}
	case corev1.PodRunning:
		ready, ephemeral := countRunning(p.Status.ContainerStatuses), countRunning(p.Status.EphemeralContainerStatuses)
		if ready+ephemeral != running {
			return fmt.Sprintf("%s: status says %d and %d running, there are %d", uid, ready, ephemeral, running)
		}
		if p.Spec.RestartPolicy == corev1.RestartPolicyAlways && ready != len(p.Spec.Containers) {
			return fmt.Sprintf("%s: %d of %d run in the end", uid, running, len(p.Spec.Containers))
		}
	default:
		return fmt.Sprintf("%s is %s in the end", uid, p.Status.Phase)
	}
	return ""
}

func countRunning(list []corev1.ContainerStatus) int {
	n := 0
	for _, cs := range list {
		if cs.State.Running != nil {
			n++
		}
	}
	return n
}

// BenchmarkTenThousandPods prints how long 100 nodes of 100 pods take to be reported Running.
func BenchmarkTenThousandPods(b *testing.B) {
	for b.Loop() {
		var worlds []*world
		for range 100 {
			w := &world{cluster: newCluster(b), exec: newScripted(nil)}
			w.boot()
			worlds = append(worlds, w)
		}
		begin := time.Now()
		for _, w := range worlds {
			for i := range 100 {
				p := podOf("a")
				p.Name, p.UID = fmt.Sprint("p", i), types.UID(fmt.Sprint("uid-", i))
				w.put(p)
			}
		}
		var rows atomic.Int64
		for _, w := range worlds {
			for {
				w.mu.Lock()
				n := 0
				for _, p := range w.pods {
					if p.Status.Phase == corev1.PodRunning {
						n++
					}
				}
				done := n == 100
				if done {
					rows.Add(int64(w.rows))
				}
				w.mu.Unlock()
				if done {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/10000-pods")
		b.ReportMetric(float64(rows.Load()), "rows")
		for _, w := range worlds {
			w.cancel()
			<-w.done
		}
	}
}
