package probe

import (
	"container/heap"
	"context"
	"hash/fnv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind of a probe.
type Kind uint8

// Kinds.
const (
	Startup Kind = iota
	Liveness
	Readiness
)

// String is the word that begins Kubernetes' messages.
func (k Kind) String() string { return [...]string{"Startup", "Liveness", "Readiness"}[k] }

// Lower is the same inside a sentence.
func (k Kind) Lower() string { return [...]string{"startup", "liveness", "readiness"}[k] }

// Target is one probe of one start of a container.
type Target struct {
	PodUID, Container string
	ContainerID       string
	Kind              Kind
	Probe             *corev1.Probe
	Host              string // the pod's address
	Ports             []corev1.ContainerPort
	Started           time.Time // of the container: the initial delay counts from here
	Good              bool      // the verdict so far
}

// Report is the outcome of asking once. Verdict says that a threshold was reached: OK is then the probe's
// new state. Without it, OK is the single answer.
type Report struct {
	PodUID, Container, ContainerID string
	Kind                           Kind
	OK, Verdict                    bool
	Message                        string
	Grace                          *int64 // the probe's own terminationGracePeriodSeconds
}

// Exec runs a command in a container.
type Exec func(ctx context.Context, containerID string, args []string) (exitCode int, output string, err error)

const (
	// workersMax asks at the same time; a node's probes wait for one another beyond that.
	workersMax = 16
	// grid is what later questions of a probe are rounded up to: a node's probes come in bursts, since waking up for a probe
	// costs more than asking it. It divides a second, so that a probe keeps its period.
	grid = 250 * time.Millisecond
	// What a probe that does not say gets, as in Kubernetes.
	defaultPeriod    = 10 * time.Second
	defaultTimeout   = time.Second
	defaultThreshold = 3
)

type key struct {
	pod, container string
	kind           Kind
}

// probing is a probe in the heap, or being asked (index -1).
type probing struct {
	Target
	due       time.Time
	index     int
	run       int // equal answers in a row
	last      bool
	decided   bool // a verdict was given
	cancelled bool
}

// Prober asks all probes of a node.
type Prober struct {
	exec   Exec
	report func(Report)
	wake   chan struct{} // capacity 1: the heap's top may have changed
	slots  chan struct{} // capacity workersMax
	began  time.Time     // a point of the grid

	mu    sync.Mutex
	all   map[key]*probing
	queue queue
}

// New makes a prober. Report is called from many goroutines and must not block.
func New(exec Exec, report func(Report)) *Prober {
	return &Prober{
		exec: exec, report: report, wake: make(chan struct{}, 1),
		slots: make(chan struct{}, workersMax), began: time.Now(), all: map[key]*probing{},
	}
}

// Add begins a probe; one of the same container and kind is replaced.
func (p *Prober) Add(t Target) {
	now := time.Now()
	wait := t.Started.Add(time.Duration(t.Probe.InitialDelaySeconds) * time.Second).Sub(now)
	if wait < 0 {
		wait = 0
		if now.Sub(t.Started) > period(t.Probe) { // adopted: spread the node's probes over a period
			wait = offset(t)
		}
	}
	due := now.Add(wait) // by the clock that nobody sets: later times are counted from here
	p.mu.Lock()
	defer p.mu.Unlock()
	k := key{t.PodUID, t.Container, t.Kind}
	p.removeLocked(k)
	pr := &probing{Target: t, due: due, last: t.Good, decided: t.Good}
	p.all[k] = pr
	heap.Push(&p.queue, pr)
	p.poke()
}

func offset(t Target) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(t.PodUID + t.Container))
	return time.Duration(h.Sum32()) % period(t.Probe)
}

// Remove ends a probe.
func (p *Prober) Remove(podUID, container string, kind Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(key{podUID, container, kind})
}

// RemoveContainer ends all probes of a container.
func (p *Prober) RemoveContainer(podUID, container string) {
	for _, kind := range []Kind{Startup, Liveness, Readiness} {
		p.Remove(podUID, container, kind)
	}
}

// RemovePod ends all probes of a pod.
func (p *Prober) RemovePod(podUID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.all {
		if k.pod == podUID {
			p.removeLocked(k)
		}
	}
}

func (p *Prober) removeLocked(k key) {
	pr := p.all[k]
	if pr == nil {
		return
	}
	pr.cancelled = true
	delete(p.all, k)
	if pr.index >= 0 {
		heap.Remove(&p.queue, pr.index)
	}
}

func (p *Prober) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run asks until ctx ends, and waits for the questions in flight.
func (p *Prober) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		pr, wait := p.next(time.Now())
		if pr != nil {
			select {
			case p.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			asking.Go(func() {
				p.ask(ctx, pr)
				<-p.slots
			})
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// next takes the probe that is due, or tells how long there is none.
func (p *Prober) next(now time.Time) (*probing, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil, time.Hour
	}
	if d := p.queue[0].due.Sub(now); d > 0 {
		return nil, d
	}
	return heap.Pop(&p.queue).(*probing), 0
}

func (p *Prober) ask(ctx context.Context, pr *probing) {
	actx, cancel := context.WithTimeout(ctx, timeout(pr.Probe))
	ok, message := ask(actx, &pr.Target, p.exec)
	cancel()
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	if pr.cancelled {
		p.mu.Unlock()
		return
	}
	verdict := pr.count(ok)
	pr.due = p.after(pr.due, period(pr.Probe), time.Now())
	heap.Push(&p.queue, pr)
	if pr.index == 0 {
		p.poke()
	}
	p.mu.Unlock()
	if verdict || !ok {
		p.report(Report{
			PodUID: pr.PodUID, Container: pr.Container, ContainerID: pr.ContainerID, Kind: pr.Kind,
			OK: ok, Verdict: verdict, Message: message, Grace: pr.Probe.TerminationGracePeriodSeconds,
		})
	}
}

// after is when a probe that was due is asked again. Like a ticker's, the times do not depend on how long the answers take;
// one that was missed meanwhile is made up for at once, more are not.
func (p *Prober) after(due time.Time, period time.Duration, now time.Time) time.Time {
	if over := due.Sub(p.began) % grid; over > 0 {
		due = due.Add(grid - over)
	}
	due = due.Add(period)
	if late := now.Sub(due); late > 0 {
		due = due.Add(late - late%period)
	}
	return due
}

// count adds an answer and says whether it decides anything anew.
func (pr *probing) count(ok bool) bool {
	if pr.run == 0 || ok != pr.last {
		pr.run = 0
	}
	first := pr.run == 0
	was := pr.decided && pr.Good
	pr.last = ok
	pr.run++
	if pr.run < threshold(pr.Probe, ok) {
		return false
	}
	news := !pr.decided || was != ok
	// A failing liveness or startup probe goes on deciding, should the first kill have come to nothing.
	news = news || !ok && pr.Kind != Readiness && first
	pr.decided, pr.Good = true, ok
	return news
}

func threshold(p *corev1.Probe, ok bool) int {
	n, other := p.FailureThreshold, int32(defaultThreshold)
	if ok {
		n, other = p.SuccessThreshold, 1
	}
	if n <= 0 {
		n = other
	}
	return int(n)
}

func period(p *corev1.Probe) time.Duration {
	if p.PeriodSeconds <= 0 {
		return defaultPeriod
	}
	return time.Duration(p.PeriodSeconds) * time.Second
}

func timeout(p *corev1.Probe) time.Duration {
	if p.TimeoutSeconds <= 0 {
		return defaultTimeout
	}
	return time.Duration(p.TimeoutSeconds) * time.Second
}

// queue is a heap by due time.
type queue []*probing

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *queue) Push(x any) {
	pr := x.(*probing)
	pr.index = len(*q)
	*q = append(*q, pr)
}
func (q *queue) Pop() any {
	old := *q
	pr := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	pr.index = -1
	return pr
}
