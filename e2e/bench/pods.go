package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	podStarts    = 60
	podCrowd     = 100
	probeSettle  = 5 * time.Second
	probeMeasure = 20 * time.Second
	// busybox is a static program of Debian's busybox-static: it starts in less than a millisecond, in pods and in runc alike.
	busybox = "/bin/busybox"
)

// benchPods measures what a pod costs on one node: until its first process has done something, all at once, at rest, and probed.
func benchPods(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	c, err := l.Client("server1")
	if err != nil {
		return err
	}
	node, err := l.Node("client1")
	if err != nil {
		return err
	}
	marks, err := newMarks()
	if err != nil {
		return err
	}
	defer marks.close()
	b := podBench{c: c, node: node, marks: marks, t: t, image: rig.Image}
	for _, step := range []func(context.Context) error{b.starts, b.runc, b.peer, b.crowd, b.probes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

type podBench struct {
	c      kubernetes.Interface
	node   rig.Node
	marks  *marks
	t      *table
	image  string
	daemon *containerd.Daemon // runs the node's pods; nil if the node itself does
}

// busyPod runs busybox in a pod of the node.
func (b *podBench) busyPod(name string, args ...string) *corev1.Pod {
	grace, file, no := int64(0), corev1.HostPathFile, false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench"}},
		Spec: corev1.PodSpec{
			NodeName: b.node.Name, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{Name: "c", Image: b.image, ImagePullPolicy: corev1.PullIfNotPresent, Command: append([]string{"/busybox"}, args...),
				VolumeMounts: []corev1.VolumeMount{{Name: "busybox", MountPath: "/busybox"}, {Name: "out", MountPath: "/out"}}}},
			Volumes: []corev1.Volume{
				{Name: "busybox", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: busybox, Type: &file}}},
				{Name: "out", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: b.marks.dir}}},
			},
		},
	}
}

func (b *podBench) create(ctx context.Context, p *corev1.Pod) error {
	_, err := b.c.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
	return err
}

// clear deletes all pods and waits until they are gone.
func (b *podBench) clear(ctx context.Context) error {
	if err := b.c.CoreV1().Pods("default").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	return rig.Await(ctx, 100*time.Millisecond, "the pods to be gone", func(ctx context.Context) (bool, error) {
		list, err := b.c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) > 0 || b.daemon == nil {
			return err == nil && len(list.Items) == 0, err
		}
		left, err := b.daemon.Ctr("containers", "list", "--quiet")
		return err == nil && strings.TrimSpace(left) == "", err
	})
}

// starts measures from the call that creates a pod to what its first process does first: touch a file. The pods stay, since
// the kernel's work at the end of one would delay the next.
func (b *podBench) starts(ctx context.Context) error {
	var took []time.Duration
	for i := range podStarts {
		one, err := b.startOne(ctx, fmt.Sprint("start-", i))
		if err != nil {
			return err
		}
		if i >= 5 { // the first ones warm up
			took = append(took, one)
		}
	}
	b.t.below("pod created to its first process, image present, p50", quantile(took, 0.5), 20, "ms")
	b.t.below("the same, p99", quantile(took, 0.99), 60, "ms")
	return b.clear(ctx)
}

func (b *podBench) startOne(ctx context.Context, name string) (time.Duration, error) {
	began := time.Now()
	if err := b.create(ctx, b.busyPod(name, "sh", "-c", "/busybox touch /out/"+name+"; exec /busybox sleep 100000")); err != nil {
		return 0, err
	}
	seen, err := b.marks.await(ctx, name)
	return seen.Sub(began), err
}

// crowd starts many pods at once and weighs them.
func (b *podBench) crowd(ctx context.Context) error {
	before, err := b.overhead()
	if err != nil {
		return err
	}
	used, err := cgroupCPU(b.node.Cgroup)
	if err != nil {
		return err
	}
	took, err := b.fill(ctx, podCrowd, func(i int) *corev1.Pod { return b.busyPod(fmt.Sprint("crowd-", i), "sleep", "100000") })
	if err != nil {
		return err
	}
	b.t.below(fmt.Sprintf("%d pods created at once to all Running", podCrowd), took.Seconds(), 2, "s")
	now, err := cgroupCPU(b.node.Cgroup)
	if err != nil {
		return err
	}
	b.t.told("the same, processor time of the node for each", fmt.Sprintf("%.1f ms", 1000*(now-used).Seconds()/podCrowd))
	after, err := b.overhead()
	if err != nil {
		return err
	}
	b.t.below("a pod beyond its processes, PSS (pause, share of supervisor and agent)", (after-before)*1024/podCrowd, 300, "KB")
	return nil
}

// fill creates n pods and waits until all of them run.
func (b *podBench) fill(ctx context.Context, n int, pod func(int) *corev1.Pod) (time.Duration, error) {
	w, err := b.c.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	began := time.Now()
	g, create := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range n {
		g.Go(func() error { return b.create(create, pod(i)) })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	running := map[string]bool{}
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if ok && p.Status.Phase == corev1.PodRunning {
			running[p.Name] = true
		}
		if len(running) == n {
			return time.Since(began), nil
		}
	}
	return 0, errors.New("the watch ended before all pods ran")
}

// probes measures what all of a node uses for many pods that are only probed.
func (b *podBench) probes(ctx context.Context) error {
	idle, err := b.share(ctx) // the crowd is still there
	if err != nil {
		return err
	}
	execs, err := b.probed(ctx, false)
	if err != nil {
		return err
	}
	both, err := b.probed(ctx, true)
	if err != nil {
		return err
	}
	b.t.told(fmt.Sprintf("node with %d idle pods, share of a core", podCrowd), fmt.Sprintf("%.1f %%", 100*idle))
	b.t.below("an exec probe, processor time with its command", 1000*(execs-idle)/podCrowd, 1, "ms")
	b.t.below(fmt.Sprintf("node with %d idle pods, each probed by exec and by HTTP every second, share of a core", podCrowd), 100*both, 15, "%")
	return b.clear(ctx)
}

// probed measures with new pods that are probed by exec, or by exec and HTTP.
func (b *podBench) probed(ctx context.Context, http bool) (float64, error) {
	if err := b.clear(ctx); err != nil {
		return 0, err
	}
	_, err := b.fill(ctx, podCrowd, func(i int) *corev1.Pod {
		p := b.busyPod(fmt.Sprint("probed-", i), "httpd", "-f", "-p", "8080", "-h", "/out")
		c := &p.Spec.Containers[0]
		c.LivenessProbe = &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 10,
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/busybox", "true"}}}}
		if http {
			c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 10,
				ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromInt32(8080)}}}
		}
		return p
	})
	if err != nil {
		return 0, err
	}
	return b.share(ctx)
}

// share is the processor time that the node's cgroup uses in a second.
func (b *podBench) share(ctx context.Context) (float64, error) {
	if err := pause(ctx, probeSettle); err != nil {
		return 0, err
	}
	before, err := cgroupCPU(b.node.Cgroup)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := pause(ctx, probeMeasure); err != nil {
		return 0, err
	}
	after, err := cgroupCPU(b.node.Cgroup)
	return (after - before).Seconds() / time.Since(began).Seconds(), err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cgroupCPU is the processor time of a cgroup and those below it.
func cgroupCPU(name string) (time.Duration, error) {
	if b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuacct", name, "cpuacct.usage")); err == nil {
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return time.Duration(n), err
	}
	b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", name, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("cgroup %s tells no usage", name)
}
