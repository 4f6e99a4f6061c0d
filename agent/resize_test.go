package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

func amounts(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

// resizedTo is the pod with other resources for its first container, as the resize subresource leaves it.
func resizedTo(p *corev1.Pod, r corev1.ResourceRequirements) *corev1.Pod {
	q := p.DeepCopy()
	q.Spec.Containers[0].Resources = r
	q.Generation++
	return q
}

func resizeState(p *corev1.Pod) string {
	out := "done"
	for _, kind := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
		if c := findCondition(p.Status.Conditions, kind); c != nil {
			out = strings.TrimSuffix(string(kind)+" "+c.Reason, " ")
		}
	}
	cs := p.Status.ContainerStatuses[0]
	return fmt.Sprintf("%s allocated=%s runs=%s", out, cs.AllocatedResources.Cpu(), cs.Resources.Requests.Cpu())
}

func sized() *corev1.Pod {
	p := podOf("a", "b")
	p.Spec.Containers[0].Resources = amounts("100m", "64Mi")
	p.Spec.Containers[1].Resources = amounts("100m", "64Mi")
	return p
}

func TestResizeInPlace(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.put(sized())
		w.after(time.Second)
		want(t, "before", resizeState(w.get("uid-1")), "done allocated=100m runs=100m")
		w.put(resizedTo(w.get("uid-1"), amounts("200m", "32Mi")))
		w.after(time.Second)
		p := w.get("uid-1")
		want(t, "after", resizeState(p), "done allocated=200m runs=200m")
		want(t, "restarts", p.Status.ContainerStatuses[0].RestartCount, 0)
		want(t, "observed", p.Status.ObservedGeneration, 2)
		// The pod first as wide as either, then the container, then the pod as it is to be.
		want(t, "steps", strings.Join(w.exec.resizes, ", "),
			" cpu=307/30000 memory=134217728, a cpu=204/20000 memory=33554432,  cpu=307/30000 memory=100663296")
		for _, r := range []string{"ResizeStarted", "ResizeCompleted"} {
			want(t, "event "+r, strings.Contains(w.reasons(), r), true)
		}
	})
}

func TestResizeRestartsAContainerThatWantsIt(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		p := sized()
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{
			{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired}, {ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
		w.put(p)
		w.after(time.Second)
		w.put(resizedTo(w.get("uid-1"), amounts("200m", "64Mi")))
		w.after(time.Second)
		want(t, "another CPU only", w.get("uid-1").Status.ContainerStatuses[0].RestartCount, 0)
		w.put(resizedTo(w.get("uid-1"), amounts("200m", "128Mi")))
		w.after(2 * time.Second)
		got := w.get("uid-1")
		want(t, "state", resizeState(got), "done allocated=200m runs=200m")
		want(t, "other memory", got.Status.ContainerStatuses[0].RestartCount, 1)
		want(t, "runs with", w.exec.specs["a"].Resources.MemoryBytes, 128<<20)
		want(t, "the other container", got.Status.ContainerStatuses[1].RestartCount, 0)
	})
}

func TestResizeWaitsForRoom(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		cpus := w.agent.node.milliCPU
		big := podOf("x")
		big.Name, big.UID = "big", "uid-2"
		big.Spec.Containers[0].Resources = amounts(fmt.Sprintf("%dm", cpus-300), "64Mi")
		w.put(big)
		w.put(sized())
		w.after(time.Second)
		w.put(resizedTo(w.get("uid-1"), amounts(fmt.Sprintf("%dm", cpus*2), "64Mi")))
		w.after(time.Second)
		want(t, "more than the node has", resizeState(w.get("uid-1")), "PodResizePending Infeasible allocated=100m runs=100m")
		w.put(resizedTo(w.get("uid-1"), amounts("500m", "64Mi")))
		w.after(time.Second)
		want(t, "more than is free", resizeState(w.get("uid-1")), "PodResizePending Deferred allocated=100m runs=100m")
		w.stop()
		w.boot()
		w.after(time.Second)
		want(t, "the same after the agent's restart", resizeState(w.get("uid-1")), "PodResizePending Deferred allocated=100m runs=100m")
		w.delete("uid-2", 1)
		w.after(10 * time.Second)
		want(t, "once there is room", resizeState(w.get("uid-1")), "done allocated=500m runs=500m")
	})
}

func (s *scripted) failResizes(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resizeErr = err
}

func TestResizeThatFailsIsTriedAgain(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.put(sized())
		w.after(time.Second)
		w.exec.failResizes(errors.New("below current usage"))
		w.put(resizedTo(w.get("uid-1"), amounts("100m", "16Mi")))
		w.after(time.Second)
		p := w.get("uid-1")
		want(t, "while it fails", resizeState(p), "PodResizeInProgress Error allocated=100m runs=100m")
		want(t, "why", findCondition(p.Status.Conditions, corev1.PodResizeInProgress).Message, "below current usage")
		want(t, "the pod is", isTrueCondition(p, corev1.PodReady), true)
		w.exec.failResizes(nil)
		w.after(15 * time.Second)
		want(t, "when it can", resizeState(w.get("uid-1")), "done allocated=100m runs=100m")
	})
}

// A change back while the change is still waiting leaves nothing behind.
func TestResizeTakenBack(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		w.put(sized())
		w.after(time.Second)
		w.put(resizedTo(w.get("uid-1"), amounts("1000", "64Mi")))
		w.after(time.Second)
		w.put(resizedTo(w.get("uid-1"), amounts("100m", "64Mi")))
		w.after(time.Second)
		want(t, "state", resizeState(w.get("uid-1")), "done allocated=100m runs=100m")
		want(t, "steps", len(w.exec.resizes), 0)
	})
}

// A pod whose spec speaks of all its containers together tells of them together, too.
func TestResizeOfAPodAsAWhole(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		p, level := podOf("a"), amounts("200m", "64Mi")
		p.Spec.Resources = &level
		w.put(p)
		w.after(time.Second)
		q := w.get("uid-1").DeepCopy()
		more := amounts("300m", "64Mi")
		q.Spec.Resources = &more
		q.Generation++
		w.put(q)
		w.after(time.Second)
		st := w.get("uid-1").Status
		want(t, "allocated", st.AllocatedResources.Cpu().String(), "300m")
		want(t, "runs with", st.Resources.Limits.Cpu().String(), "300m")
		want(t, "steps", strings.Join(w.exec.resizes, ", "), " cpu=307/30000 memory=67108864,  cpu=307/30000 memory=67108864")
	})
}

// Resizes that wait get their turn by priority, class of service and age; one that does not fit keeps nobody else waiting.
func TestResizesWaitInTurn(t *testing.T) {
	live(t, nil, func(t *testing.T, w *world) {
		cpus := w.agent.node.milliCPU
		pod := func(name string, cpu int64, change func(*corev1.Pod)) *corev1.Pod {
			p := podOf("c")
			p.Name, p.UID = name, types.UID(name)
			p.Spec.Containers[0].Resources.Requests = amounts(fmt.Sprintf("%dm", cpu), "1Mi").Requests
			if change != nil {
				change(p)
			}
			return p
		}
		grow := func(name string, cpu int64) {
			p := resizedTo(w.get(types.UID(name)), corev1.ResourceRequirements{Requests: amounts(fmt.Sprintf("%dm", cpu), "1Mi").Requests})
			if name == "guaranteed" {
				p.Spec.Containers[0].Resources.Limits = p.Spec.Containers[0].Resources.Requests
			}
			w.put(p)
		}
		for i, name := range []string{"first", "second"} { // the room is given back in two parts
			w.put(pod(name, []int64{60, cpus - 130}[i], nil))
		}
		w.put(pod("young", 10, nil))
		w.put(pod("old", 10, nil))
		w.put(pod("guaranteed", 10, func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = p.Spec.Containers[0].Resources.Requests }))
		w.put(pod("important", 10, func(p *corev1.Pod) { p.Spec.Priority = ptr.To(int32(7)) }))
		w.put(pod("greedy", 10, func(p *corev1.Pod) { p.Spec.Priority = ptr.To(int32(9)) }))
		w.after(time.Second)
		for _, name := range []string{"old", "young", "guaranteed", "important"} {
			grow(name, 60+10)
			w.after(2 * time.Second)
		}
		grow("greedy", cpus-200)
		w.after(2 * time.Second)
		granted := func() (names []string) {
			for _, name := range []string{"greedy", "important", "guaranteed", "old", "young"} {
				if p := w.get(types.UID(name)); findCondition(p.Status.Conditions, corev1.PodResizePending) == nil {
					names = append(names, name)
				}
			}
			return names
		}
		want(t, "while there is no room", fmt.Sprint(granted()), "[]")
		w.delete("first", 1)
		w.after(5 * time.Second)
		want(t, "with room for one of them", fmt.Sprint(granted()), "[important]")
		p := resizedTo(w.get("second"), corev1.ResourceRequirements{Requests: amounts(fmt.Sprintf("%dm", cpus-230), "1Mi").Requests})
		w.put(p)
		w.after(5 * time.Second)
		want(t, "when another takes less", fmt.Sprint(granted()), "[important guaranteed old]")
		w.delete("second", 1)
		w.after(5 * time.Second)
		want(t, "when there is room again", fmt.Sprint(granted()), "[important guaranteed old young]")
	})
}

// At no time do pods have more room than the node, and nobody waits for room that is there.
func TestRoomIsNeverGivenTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &room{whole: share{milliCPU: 100, memory: 100, disk: 100, pods: 8}}
		pods := map[int]*share{}
		draw := func() share {
			return share{rapid.Int64Range(0, 60).Draw(t, "cpu"), rapid.Int64Range(0, 60).Draw(t, "memory"), 0, 1}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, 9).Draw(t, "pod")
			switch held := pods[i]; {
			case held == nil:
				if held = new(share); r.take(held, draw()) == nil {
					pods[i] = held
				}
			case rapid.IntRange(0, 3).Draw(t, "ends") == 0:
				r.leave(held)
				delete(pods, i)
			default:
				r.ask(waiter{held: held, want: draw(), granted: func() {}, turn: turn{priority: int32(i % 3)}})
			}
			var sum share
			for _, held := range pods {
				sum = sum.plus(*held)
			}
			if sum != r.used || sum.exceeds(r.whole) {
				t.Fatalf("pods have %+v, the room says %+v of %+v", sum, r.used, r.whole)
			}
			for _, w := range r.waiting {
				if r.lack(w.held, w.want) == nil {
					t.Fatalf("%+v waits for %+v, which is there", *w.held, w.want)
				}
			}
		}
	})
}
