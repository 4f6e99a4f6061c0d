package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// statusWriter sends the newest statuses of many pods in one write, one write at a time: while one is on
// its way the next gathers by itself. A status that is not written yet is replaced by a newer one.
type statusWriter struct {
	control ControlPlane
	log     hclog.Logger
	signal  chan struct{} // capacity 1: there is something to write

	mu     sync.Mutex
	queue  map[types.UID]*pending
	events []ops.Op
}

// pending is what is to be written about a pod.
type pending struct {
	row    *ops.StatusRow
	delete *ops.DeleteRow
	// after holds the row back: the pod is on its way up and will soon have more to say.
	after time.Time
}

func newStatusWriter(control ControlPlane, log hclog.Logger) *statusWriter {
	return &statusWriter{control: control, log: log, signal: make(chan struct{}, 1), queue: map[types.UID]*pending{}}
}

// put takes a pod's new status; held says that a better one is expected soon.
func (s *statusWriter) put(pod *corev1.Pod, status []byte, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.entry(pod.UID)
	first := p.row == nil
	p.row = &ops.StatusRow{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Status: status}
	switch {
	case !held:
		p.after = time.Time{}
	case first:
		p.after = time.Now().Add(statusHold)
	}
	s.wake()
}

// remove takes the final deletion of a pod, to be written after its last status.
func (s *statusWriter) remove(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.entry(pod.UID)
	p.after = time.Time{}
	p.delete = &ops.DeleteRow{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Grace: 0}
	s.wake()
}

// addEvents takes events, which go out with or after the statuses.
func (s *statusWriter) addEvents(list []ops.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, list...)
	if over := len(s.events) - eventsKept; over > 0 {
		s.events = s.events[over:]
	}
	s.wake()
}

// forget drops what was to be written about a pod that is gone.
func (s *statusWriter) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.queue, uid)
}

func (s *statusWriter) entry(uid types.UID) *pending {
	p := s.queue[uid]
	if p == nil {
		p = &pending{}
		s.queue[uid] = p
	}
	return p
}

func (s *statusWriter) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// run writes until ctx ends.
func (s *statusWriter) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var retry backoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.signal:
		case <-timer.C:
		}
		batch, wait := s.take(time.Now())
		if batch.empty() {
			timer.Stop()
			if wait > 0 {
				timer.Reset(wait)
			}
			continue
		}
		if err := s.write(ctx, batch); err != nil {
			retry.next(writeRetryFirst, writeRetryMax)
			s.log.Debug("writing statuses; trying again", "pods", len(batch.taken), "error", err)
			sleep(ctx, retry.Delay)
		} else {
			retry = backoff{}
		}
		s.wake() // there may be more, or held ones to set the timer for
	}
}

// write sends a batch. What could not be sent it gives back to the queue; what the servers refuse for good it drops, since else that would
// keep back all the rest, and finds it among the rest by halves.
func (s *statusWriter) write(ctx context.Context, b batch) error {
	err := s.control.Write(ctx, b.ops(time.Now()))
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ops.ErrRefused):
		s.giveBack(b)
		return err
	}
	if first, second, ok := b.halves(); ok {
		return errors.Join(s.write(ctx, first), s.write(ctx, second))
	}
	s.log.Warn("the servers refuse what this node says; dropped", "about", b.String(), "error", err)
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// batch is one write.
type batch struct {
	taken  map[types.UID]*pending
	events []ops.Op
}

func (b *batch) empty() bool { return len(b.taken) == 0 && len(b.events) == 0 }

func (b *batch) ops(now time.Time) []ops.Op {
	statuses, deletes := &ops.PodStatuses{}, &ops.DeletePods{Now: now.Unix()}
	for _, p := range b.taken {
		if p.row != nil {
			statuses.Rows = append(statuses.Rows, *p.row)
		}
		if p.delete != nil {
			deletes.Rows = append(deletes.Rows, *p.delete)
		}
	}
	var list []ops.Op
	if len(statuses.Rows) > 0 {
		list = append(list, statuses)
	}
	if len(deletes.Rows) > 0 {
		list = append(list, deletes)
	}
	return append(list, b.events...)
}

// halves splits a batch in two that both say something; false if it is about one pod, or is one event.
func (b *batch) halves() (first, second batch, ok bool) {
	first.taken, second.taken = map[types.UID]*pending{}, map[types.UID]*pending{}
	middle := (len(b.taken) + len(b.events)) / 2
	for uid, p := range b.taken {
		if len(first.taken) < middle {
			first.taken[uid] = p
		} else {
			second.taken[uid] = p
		}
	}
	cut := middle - len(first.taken) // events go with or after statuses
	first.events, second.events = b.events[:cut:cut], b.events[cut:]
	return first, second, middle > 0
}

// String names what a batch is about, for the log.
func (b *batch) String() string {
	for uid, p := range b.taken {
		if p.row != nil {
			return fmt.Sprintf("pod %s/%s (%s)", p.row.Namespace, p.row.Name, uid)
		}
		return fmt.Sprintf("the end of pod %s/%s (%s)", p.delete.Namespace, p.delete.Name, uid)
	}
	return "an event"
}

// take removes what is due from the queue; wait is when the next held row is due, 0 if there is none.
func (s *statusWriter) take(now time.Time) (b batch, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.taken = map[types.UID]*pending{}
	for uid, p := range s.queue {
		if d := p.after.Sub(now); d > 0 {
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		if len(b.taken) == rowsPerWrite {
			break
		}
		b.taken[uid] = p
		delete(s.queue, uid)
	}
	b.events, s.events = s.events, nil
	return b, wait
}

// giveBack puts a batch that was not written back, beneath what has come since.
func (s *statusWriter) giveBack(b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, old := range b.taken {
		p := s.entry(uid)
		if p.row == nil {
			p.row = old.row
		}
		if p.delete == nil {
			p.delete = old.delete
		}
		p.after = time.Time{}
	}
	s.events = append(b.events, s.events...)
}
