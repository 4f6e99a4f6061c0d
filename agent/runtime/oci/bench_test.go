package oci

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// BenchmarkPod is a sandbox and a container in it, up to its program running; the time of its removal is not counted. Beside the
// time it tells the processor time of this process for start and removal, and that of the processes that it has started.
func BenchmarkPod(b *testing.B) {
	n := newNode(b)
	e := n.open()
	var start, end time.Duration
	children := processorTime(b, unix.RUSAGE_CHILDREN)
	for i := range b.N {
		pod := fmt.Sprintf("p%d", i)
		began := processorTime(b, unix.RUSAGE_SELF)
		n.start(e, pod, n.spec(pod, "c"+pod, "sleep 1000"))
		b.StopTimer()
		runs := processorTime(b, unix.RUSAGE_SELF)
		if err := e.RemoveSandbox(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
		start, end = start+runs-began, end+processorTime(b, unix.RUSAGE_SELF)-runs
		b.StartTimer()
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
	b.ReportMetric(each(start), "start-cpu-us/op")
	b.ReportMetric(each(end), "end-cpu-us/op")
	b.ReportMetric(each(processorTime(b, unix.RUSAGE_CHILDREN)-children), "children-cpu-us/op")
}

func processorTime(b *testing.B, who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkExec is a probe: the command /bin/true, waited for, with its output kept.
func BenchmarkExec(b *testing.B) {
	n := newNode(b)
	e := n.open()
	n.start(e, "p", n.spec("p", "c", "sleep 1000"))
	before := spent(b, n.cfg.SupervisorDir)
	for b.Loop() {
		var out strings.Builder
		if code, err := e.Exec(b.Context(), "c", runtime.ExecSpec{Args: []string{"true"}, Stdout: &out, Stderr: &out, Buffered: true}); err != nil || code != 0 {
			b.Fatal(code, err)
		}
	}
	after := spent(b, n.cfg.SupervisorDir)
	for i, who := range []string{"agent", "supervisor", "command"} {
		b.ReportMetric(float64((after[i]-before[i]).Microseconds())/float64(b.N), who+"-cpu-us/op")
	}
}

// spent is the processor time of this process, of the supervisor and of the children that it has reaped.
func spent(b *testing.B, dir string) (out [3]time.Duration) {
	b.Helper()
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	out[0] = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	c, err := supervisor.Dial(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	h, err := c.Hello()
	if err != nil {
		b.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.PID))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	const tick = 10 * time.Millisecond // USER_HZ
	for i, f := range strings.Fields(rest)[11:15] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		out[1+i/2] += time.Duration(n) * tick
	}
	return out
}
