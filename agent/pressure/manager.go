package pressure

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
)

const (
	// period is how often the levels are read, Kubernetes' own.
	period = 10 * time.Second
	// Lasting is how long a condition stays after its cause has gone, so that it does not flap.
	Lasting = 5 * time.Minute
)

// Node is what the manager reads and does.
type Node interface {
	// Levels reads the signals.
	Levels() map[Signal]Level
	// Uses lists the pods that could be ended, with what they use of the signal's resource.
	Uses(ctx context.Context, s Signal) []Use
	// Reclaim frees disk that nothing needs: dead containers and unused images. It returns the bytes freed.
	Reclaim(ctx context.Context, bytes int64) int64
	// Evict ends a pod at once and waits until its processes are gone, or ctx ends.
	Evict(ctx context.Context, pod *corev1.Pod, message string)
}

// Manager does a node's part in node-pressure eviction.
type Manager struct {
	node       Node
	thresholds []Threshold
	log        hclog.Logger
	changed    chan struct{} // capacity 1

	mu   sync.Mutex
	last map[corev1.NodeConditionType]time.Time // when each condition had a cause
	on   map[corev1.NodeConditionType]bool
}

// New makes a manager; nothing happens before Run.
func New(node Node, thresholds []Threshold, log hclog.Logger) *Manager {
	return &Manager{node: node, thresholds: thresholds, log: log, changed: make(chan struct{}, 1),
		last: map[corev1.NodeConditionType]time.Time{}, on: map[corev1.NodeConditionType]bool{}}
}

// Changed has a value when a condition has changed since the last one was taken.
func (m *Manager) Changed() <-chan struct{} { return m.changed }

// Has says whether the node has a condition of pressure.
func (m *Manager) Has(c corev1.NodeConditionType) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on[c]
}

// Refuses says why a pod may not be started under the present pressure, "" if it may.
func (m *Manager) Refuses(p *corev1.Pod, bestEffort bool) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var why []string
	for _, c := range slices.Sorted(maps.Keys(m.on)) {
		if m.on[c] && !(c == corev1.NodeMemoryPressure && (!bestEffort || tolerates(p, corev1.TaintNodeMemoryPressure))) {
			why = append(why, string(c))
		}
	}
	if len(why) == 0 || priority(p) >= criticalPriority {
		return ""
	}
	return "The node had condition: [" + strings.Join(why, ", ") + "]. "
}

func tolerates(p *corev1.Pod, key string) bool {
	taint := corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
	return slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool {
		return (t.Key == "" && t.Operator == corev1.TolerationOpExists || t.Key == taint.Key) && (t.Effect == "" || t.Effect == taint.Effect)
	})
}

// Run watches until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		m.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look does one round: conditions, then what is free for the taking, then one pod.
func (m *Manager) look(ctx context.Context) {
	levels := m.node.Levels()
	met := m.met(levels)
	m.note(met, time.Now())
	if i := slices.IndexFunc(met, func(t Threshold) bool { return condition[t.Signal] == corev1.NodeDiskPressure }); i >= 0 {
		m.reclaim(ctx, met, levels)
		levels = m.node.Levels()
		met = m.met(levels)
	}
	if len(met) == 0 || ctx.Err() != nil {
		return
	}
	t := met[0]
	victims := rank(m.node.Uses(ctx, t.Signal), t.Signal)
	if len(victims) == 0 {
		m.log.Warn("the node runs out of something and there is no pod to be ended for it", "signal", string(t.Signal), "available", amount(t.Signal, levels[t.Signal].Available))
		return
	}
	v := victims[0]
	m.log.Warn("ending a pod because the node runs out of something", "signal", string(t.Signal), "namespace", v.Pod.Namespace, "pod", v.Pod.Name)
	m.node.Evict(ctx, v.Pod, v.message(t.Signal, t, levels[t.Signal]))
}

// urgency is the order in which signals are attended to: memory is what runs out fastest.
var urgency = []Signal{MemoryAvailable, PIDAvailable, NodefsAvailable, ImagefsAvailable, NodefsInodesFree, ImagefsInodes}

// met lists the thresholds that are crossed, the most urgent first.
func (m *Manager) met(levels map[Signal]Level) []Threshold {
	var out []Threshold
	for _, t := range m.thresholds {
		if l, ok := levels[t.Signal]; ok && t.met(l) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b Threshold) int { return slices.Index(urgency, a.Signal) - slices.Index(urgency, b.Signal) })
	return out
}

// note brings the conditions up to date.
func (m *Manager) note(met []Threshold, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range met {
		m.last[condition[t.Signal]] = now
	}
	changed := false
	for c, at := range m.last {
		on := now.Sub(at) < Lasting
		changed = changed || on != m.on[c]
		m.on[c] = on
	}
	if changed {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
}

// reclaim frees what the fullest disk lacks.
func (m *Manager) reclaim(ctx context.Context, met []Threshold, levels map[Signal]Level) {
	var lacking int64 = 1 // for want of inodes anything helps
	for _, t := range met {
		if t.Signal == NodefsAvailable || t.Signal == ImagefsAvailable {
			l := levels[t.Signal]
			lacking = max(lacking, t.value(l.Capacity)-l.Available)
		}
	}
	if freed := m.node.Reclaim(ctx, lacking); freed > 0 {
		m.log.Info("freed disk under pressure", "bytes", freed, "wanted", lacking)
	}
}
