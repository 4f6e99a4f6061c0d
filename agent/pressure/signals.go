package pressure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is something that can run out.
type Signal string

// The signals, by the names that thresholds use.
const (
	MemoryAvailable  Signal = "memory.available"
	NodefsAvailable  Signal = "nodefs.available"
	NodefsInodesFree Signal = "nodefs.inodesFree"
	ImagefsAvailable Signal = "imagefs.available"
	ImagefsInodes    Signal = "imagefs.inodesFree"
	PIDAvailable     Signal = "pid.available"
)

// condition is the node's condition that a signal shows in.
var condition = map[Signal]corev1.NodeConditionType{
	MemoryAvailable: corev1.NodeMemoryPressure, PIDAvailable: corev1.NodePIDPressure,
	NodefsAvailable: corev1.NodeDiskPressure, NodefsInodesFree: corev1.NodeDiskPressure,
	ImagefsAvailable: corev1.NodeDiskPressure, ImagefsInodes: corev1.NodeDiskPressure,
}

// resourceName is what a pod that is ended for the signal is told to have used too much of.
var resourceName = map[Signal]corev1.ResourceName{
	MemoryAvailable: corev1.ResourceMemory, PIDAvailable: "pids",
	NodefsAvailable: corev1.ResourceEphemeralStorage, NodefsInodesFree: "inodes",
	ImagefsAvailable: corev1.ResourceEphemeralStorage, ImagefsInodes: "inodes",
}

// Level is how much of something there is, and how much of it is left: bytes, inodes or processes.
type Level struct{ Capacity, Available int64 }

// Threshold says below which level of a signal the node is under pressure. Percent, of the capacity, counts if it is not 0.
type Threshold struct {
	Signal   Signal
	Quantity resource.Quantity
	Percent  float64
}

// Defaults are Kubernetes' own (evictionHard), with one for process numbers that it leaves to the operator.
const Defaults = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%,pid.available<2%"

// Parse reads thresholds as in "memory.available<100Mi,nodefs.available<10%".
func Parse(s string) ([]Threshold, error) {
	var out []Threshold
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "<")
		t := Threshold{Signal: Signal(strings.TrimSpace(name))}
		if _, known := condition[t.Signal]; !ok || !known {
			return nil, fmt.Errorf("eviction threshold %q: write SIGNAL<QUANTITY or SIGNAL<PERCENT%%, where SIGNAL is memory.available, nodefs.available, "+
				"nodefs.inodesFree, imagefs.available, imagefs.inodesFree or pid.available", part)
		}
		var err error
		if percent, is := strings.CutSuffix(strings.TrimSpace(value), "%"); is {
			t.Percent, err = strconv.ParseFloat(percent, 64)
			if err == nil && (t.Percent < 0 || t.Percent > 100) {
				err = fmt.Errorf("%v %% is not between 0 and 100", t.Percent)
			}
		} else {
			t.Quantity, err = resource.ParseQuantity(strings.TrimSpace(value))
		}
		if err != nil {
			return nil, fmt.Errorf("eviction threshold %q: %w", part, err)
		}
		out = append(out, t)
	}
	return out, nil
}

// value is the threshold in the signal's own unit.
func (t Threshold) value(capacity int64) int64 {
	if t.Percent > 0 {
		return int64(float64(capacity) * t.Percent / 100)
	}
	return t.Quantity.Value()
}

func (t Threshold) met(l Level) bool { return l.Capacity > 0 && l.Available < t.value(l.Capacity) }

// Read measures the machine. Nodefs and imagefs are the directories whose disks count; a signal that cannot be read is left out.
func Read(proc, nodefs, imagefs string) map[Signal]Level {
	out := map[Signal]Level{}
	if fs, err := procfs.NewFS(proc); err == nil {
		if m, err := fs.Meminfo(); err == nil && m.MemTotalBytes != nil && m.MemAvailableBytes != nil {
			out[MemoryAvailable] = Level{int64(*m.MemTotalBytes), int64(*m.MemAvailableBytes)}
		}
		if l, ok := processes(proc); ok {
			out[PIDAvailable] = l
		}
	}
	for _, d := range []struct {
		dir           string
		bytes, inodes Signal
	}{{nodefs, NodefsAvailable, NodefsInodesFree}, {imagefs, ImagefsAvailable, ImagefsInodes}} {
		var st unix.Statfs_t
		if d.dir == "" || unix.Statfs(d.dir, &st) != nil {
			continue
		}
		out[d.bytes] = Level{int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize}
		if st.Files > 0 { // some file systems count none
			out[d.inodes] = Level{int64(st.Files), int64(st.Ffree)}
		}
	}
	return out
}

// processes is how many processes and threads the kernel can have, and how many more.
func processes(proc string) (Level, bool) {
	most := int64(1) << 62
	for _, name := range []string{"pid_max", "threads-max"} {
		if n, err := strconv.ParseInt(word(filepath.Join(proc, "sys/kernel", name), 0), 10, 64); err == nil {
			most = min(most, n)
		}
	}
	_, all, ok := strings.Cut(word(filepath.Join(proc, "loadavg"), 3), "/") // "0.00 0.01 0.05 RUNNING/ALL LAST"
	n, err := strconv.ParseInt(all, 10, 64)
	return Level{most, most - n}, ok && err == nil && most < 1<<62
}

// word is the n-th word of a file, "" if there is none.
func word(file string, n int) string {
	b, err := os.ReadFile(file)
	if f := strings.Fields(string(b)); err == nil && n < len(f) {
		return f[n]
	}
	return ""
}
