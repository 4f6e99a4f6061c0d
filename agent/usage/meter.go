package usage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/procfs"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/runtime"
)

const (
	// Period is the time between two readings.
	Period = 15 * time.Second
	// freshFor is how old a reading may be that is shown to somebody who asks.
	freshFor = 5 * time.Second
)

// Config of a Meter.
type Config struct {
	Node  string               // its name
	Pods  func() []*corev1.Pod // shared: read only
	Stats func(ctx context.Context, podUID string) (runtime.PodStats, error)
	// Proc is where the machine's own counters are; /proc if empty.
	Proc   string
	Logger hclog.Logger
}

// Meter reads what the node and its pods use, every Period and when somebody asks. It is safe for concurrent use.
type Meter struct {
	cfg Config

	mu           sync.Mutex
	last, before *reading
}

// reading is what everything used at one moment.
type reading struct {
	at   time.Time
	node runtime.Usage
	pods map[types.UID]podReading
}

type podReading struct {
	pod   *corev1.Pod
	stats runtime.PodStats
}

// New makes a meter that has read nothing yet.
func New(cfg Config) *Meter {
	if cfg.Proc == "" {
		cfg.Proc = procfs.DefaultMountPoint
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &Meter{cfg: cfg}
}

// Run reads until ctx ends.
func (m *Meter) Run(ctx context.Context) {
	tick := time.NewTicker(Period)
	defer tick.Stop()
	for {
		m.mu.Lock()
		m.read(ctx)
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// fresh is the newest reading and the one before it, which may be nil; a new one is made if the newest is old.
func (m *Meter) fresh(ctx context.Context) (last, before *reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil || time.Since(m.last.at) > freshFor || m.misses() {
		m.read(ctx)
	}
	return m.last, m.before
}

// misses says whether a container runs that the last reading does not have. It expects m.mu.
func (m *Meter) misses() bool {
	for _, p := range m.cfg.Pods() {
		for _, c := range running(p) {
			if _, ok := m.last.pods[p.UID].stats.Containers[c.id]; !ok {
				return true
			}
		}
	}
	return false
}

// read expects m.mu.
func (m *Meter) read(ctx context.Context) {
	r := &reading{at: time.Now(), pods: map[types.UID]podReading{}}
	var err error
	if r.node, err = m.machine(); err != nil {
		m.cfg.Logger.Warn("cannot read what the machine uses", "error", err)
	}
	for _, p := range m.cfg.Pods() {
		if len(running(p)) == 0 {
			continue
		}
		st, err := m.cfg.Stats(ctx, string(p.UID))
		switch {
		case ctx.Err() != nil:
			return // half a reading is none
		case errors.Is(err, runtime.ErrNotFound): // it has ended meanwhile
		case err != nil:
			m.cfg.Logger.Warn("cannot read what a pod uses", "namespace", p.Namespace, "pod", p.Name, "error", err)
		default:
			r.pods[p.UID] = podReading{p, st}
		}
	}
	m.last, m.before = r, m.last
}

// machine reads what all of the machine uses. What the kernel could take back at once counts as free.
func (m *Meter) machine() (runtime.Usage, error) {
	fs, err := procfs.NewFS(m.cfg.Proc)
	if err != nil {
		return runtime.Usage{}, err
	}
	stat, err := fs.Stat()
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("reading the processors' times: %w", err)
	}
	mem, err := fs.Meminfo()
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("reading the memory's use: %w", err)
	}
	bytes := func(v *uint64) uint64 {
		if v == nil {
			return 0
		}
		return *v
	}
	total, free, available := bytes(mem.MemTotalBytes), bytes(mem.MemFreeBytes), bytes(mem.MemAvailableBytes)
	cpu := stat.CPUTotal
	seconds := cpu.User + cpu.Nice + cpu.System + cpu.IRQ + cpu.SoftIRQ + cpu.Steal
	return runtime.Usage{
		Time: time.Now(), CPUNanos: uint64(seconds * 1e9), MemoryBytes: total - free, WorkingSetBytes: total - available,
		RSSBytes: bytes(mem.AnonPagesBytes), SwapBytes: bytes(mem.SwapTotalBytes) - bytes(mem.SwapFreeBytes),
	}, nil
}

// nanoCores is the rate at which processor time was used between two readings; with one only, or when the counter has begun
// anew, the rate since the start. The window is what the rate is the mean of.
func nanoCores(now, then runtime.Usage, started time.Time) (rate uint64, window time.Duration) {
	spent := now.CPUNanos
	if then.Time.IsZero() || then.Time.Before(started) || now.CPUNanos < then.CPUNanos {
		window = now.Time.Sub(started)
	} else {
		spent, window = now.CPUNanos-then.CPUNanos, now.Time.Sub(then.Time)
	}
	if window <= 0 {
		return 0, 0
	}
	return uint64(float64(spent) / window.Seconds()), window
}

// member is a running container of a pod.
type member struct {
	name, id string
	started  time.Time
}

// running lists a pod's running containers.
func running(p *corev1.Pod) []member {
	var out []member
	for _, cs := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses) {
		if r := cs.State.Running; r != nil {
			_, id, _ := strings.Cut(cs.ContainerID, "://")
			out = append(out, member{cs.Name, id, r.StartedAt.Time})
		}
	}
	return out
}
