package autoscale

import (
	"errors"
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
)

const (
	// cpuInitialization is for how long after its start a pod that is not ready, or was not when it was measured, says nothing about
	// the load: starting is work too.
	cpuInitialization = 5 * time.Minute
	// initialReadinessDelay is within which a pod's first loss of readiness counts as never having been ready.
	initialReadinessDelay = 30 * time.Second
)

// sample is what one pod uses, in thousandths.
type sample struct {
	at     time.Time
	window time.Duration
	milli  int64
}

// usedOf picks one resource, of all containers or of one. Pods whose samples lack it are left out.
func usedOf(u Usage, namespace string, name corev1.ResourceName, container string) (map[string]sample, error) {
	out := map[string]sample{}
	for pod, m := range u {
		s, found, complete := sample{at: m.Timestamp.Time, window: m.Window.Duration}, false, true
		for i := range m.Containers {
			c := &m.Containers[i]
			if container != "" && c.Name != container {
				continue
			}
			q, ok := c.Usage[name]
			complete = complete && ok
			found = true
			s.milli += q.MilliValue()
		}
		if container != "" && !found {
			return nil, fmt.Errorf("container %s not present in metrics for pod %s/%s", container, namespace, pod)
		}
		if found && complete {
			out[pod] = s
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no metrics returned from resource metrics API")
	}
	return out, nil
}

// calculation is how one metric of resources comes to its number of pods.
type calculation struct {
	pods      []*corev1.Pod
	used      map[string]sample
	current   int32
	resource  corev1.ResourceName
	container string
	now       time.Time
	tolerance func(ratio float64) bool

	// What it comes to. average is in thousandths.
	replicas int32
	percent  int32
	average  int64
}

// groups are the pods by what their samples are worth.
type groups struct {
	ready            int
	unready, missing []string
}

// group sorts the pods, and drops the samples of those that say nothing about the load.
func (c *calculation) group() (groups, error) {
	var g groups
	if len(c.pods) == 0 {
		return g, errors.New("no pods returned by selector while calculating replica count")
	}
	selected := map[string]sample{}
	for _, p := range c.pods {
		if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed {
			continue
		}
		s, measured := c.used[p.Name]
		switch {
		case p.Status.Phase == corev1.PodPending || measured && c.resource == corev1.ResourceCPU && c.starting(p, s):
			g.unready = append(g.unready, p.Name)
		case !measured:
			g.missing = append(g.missing, p.Name)
		default:
			g.ready++
			selected[p.Name] = s
		}
	}
	if c.used = selected; len(selected) == 0 {
		return g, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	}
	return g, nil
}

// starting says whether the processors' work is that of a start, not of the load.
func (c *calculation) starting(p *corev1.Pod, s sample) bool {
	ready := api.PodCondition(&p.Status, corev1.PodReady)
	if ready == nil || p.Status.StartTime == nil {
		return true
	}
	if p.Status.StartTime.Add(cpuInitialization).After(c.now) {
		return ready.Status == corev1.ConditionFalse || s.at.Before(ready.LastTransitionTime.Add(s.window))
	}
	return ready.Status == corev1.ConditionFalse && p.Status.StartTime.Add(initialReadinessDelay).After(ready.LastTransitionTime.Time)
}

// ofUtilization aims at a share of what the pods request, in per cent.
func (c *calculation) ofUtilization(target int64) error {
	g, err := c.group()
	if err != nil {
		return err
	}
	requests, err := c.requests()
	if err != nil {
		return err
	}
	ratio := func() (float64, error) {
		var used, asked, n int64
		for pod, s := range c.used {
			if r, ok := requests[pod]; ok {
				used, asked, n = used+s.milli, asked+r, n+1
			}
		}
		if asked == 0 {
			return 0, errors.New("no metrics returned matched known pods")
		}
		percent := used * 100 / asked
		if c.replicas < 0 { // what is shown is of the pods that were measured
			c.percent, c.average = int32(percent), used/n
		}
		return float64(percent) / float64(target), nil
	}
	return c.settle(g, ratio, func(pod string) int64 { return requests[pod] * max(100, target) / 100 })
}

// ofValue aims at so much a pod, in thousandths.
func (c *calculation) ofValue(target int64) error {
	g, err := c.group()
	if err != nil {
		return err
	}
	ratio := func() (float64, error) {
		var used int64
		for _, s := range c.used {
			used += s.milli
		}
		average := used / int64(len(c.used))
		if c.replicas < 0 {
			c.average = average
		}
		return float64(average) / float64(target), nil
	}
	return c.settle(g, ratio, func(string) int64 { return target })
}

// settle turns the ratio of what is used to what should be into a number of pods. Pods that have not been measured are then taken to
// be what speaks against a change; full is what they may use at most.
func (c *calculation) settle(g groups, ratio func() (float64, error), full func(pod string) int64) error {
	c.replicas = -1
	first, err := ratio()
	if err != nil {
		return err
	}
	c.replicas = c.current
	growing := first > 1
	if len(g.missing) == 0 && (len(g.unready) == 0 || !growing) {
		if !c.tolerance(first) {
			c.replicas = ceil(first * float64(g.ready))
		}
		return nil
	}
	for _, pod := range g.missing {
		s := sample{}
		if first < 1 {
			s.milli = full(pod)
		}
		if first != 1 {
			c.used[pod] = s
		}
	}
	if growing {
		for _, pod := range g.unready {
			c.used[pod] = sample{}
		}
	}
	second, err := ratio()
	if err != nil || c.tolerance(second) || growing != (second > 1) {
		return err
	}
	n := ceil(second * float64(len(c.used)))
	if second < 1 && n > c.current || second > 1 && n < c.current {
		return nil
	}
	c.replicas = n
	return nil
}

func ceil(f float64) int32 {
	return int32(math.Ceil(min(f, math.MaxInt32)))
}

// requests are what the pods ask for, in thousandths. One that asks for nothing has no utilization.
func (c *calculation) requests() (map[string]int64, error) {
	out := map[string]int64{}
	for _, p := range c.pods {
		if r := p.Spec.Resources; c.container == "" && r != nil {
			if q, ok := r.Requests[c.resource]; ok {
				out[p.Name] = q.MilliValue()
				continue
			}
		}
		sum := int64(0)
		for _, list := range [][]corev1.Container{p.Spec.Containers, sidecars(p)} {
			for i := range list {
				if c.container != "" && list[i].Name != c.container {
					continue
				}
				q, ok := list[i].Resources.Requests[c.resource]
				if !ok {
					return nil, fmt.Errorf("missing request for %s in container %s of Pod %s", c.resource, list[i].Name, p.Name)
				}
				sum += q.MilliValue()
			}
		}
		out[p.Name] = sum
	}
	return out, nil
}

// sidecars are the containers that run beside a pod's own.
func sidecars(p *corev1.Pod) (out []corev1.Container) {
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}
