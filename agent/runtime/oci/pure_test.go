package oci

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func TestResourcesOnV2(t *testing.T) {
	r := runtime.Resources{CPUShares: 1024, CPUQuota: 50000, MemoryBytes: 1 << 20, PidsMax: 7}
	v2 := cgroupLayout{parent: "p", unified: true}.resources(r, nil)
	if v2.CpuShares != 0 || v2.CpuWeight == 0 || v2.MemorySwap != 1<<20 || v2.CpuPeriod != defaultPeriod || *v2.PidsLimit != 7 {
		t.Errorf("on v2: %+v", v2)
	}
	v1 := cgroupLayout{parent: "p"}.resources(r, nil)
	if v1.CpuShares != 1024 || v1.CpuWeight != 0 || v1.MemorySwap != 0 {
		t.Errorf("on v1: %+v", v1)
	}
}

func TestCgroupPaths(t *testing.T) {
	l := cgroupLayout{parent: "peapod/n1"}
	if got := l.container("u", "c"); got != "/peapod/n1/pods/u/c" {
		t.Errorf("container in %s", got)
	}
	if into, tasks := execCgroups(map[string]string{"": "/sys/fs/cgroup/x"}); into != "/sys/fs/cgroup/x" || tasks != nil {
		t.Errorf("v2: %q %q", into, tasks)
	}
	into, tasks := execCgroups(map[string]string{"": "/u", "cpu": "/a", "cpuacct": "/a", "memory": "/b", "pids": ""})
	if into != "/u" || !slices.Equal(tasks, []string{"/a/tasks", "/b/tasks"}) {
		t.Errorf("both: %q %q", into, tasks)
	}
}

func TestOOMCounter(t *testing.T) {
	if n := counter("low 0\noom 3\noom_kill 2\noom_group_kill 9\n", "oom_kill"); n != 2 {
		t.Errorf("counted %d", n)
	}
	if f := oomFiles(map[string]string{"": "/u"}); !slices.Equal(f, []string{"/u/memory.events"}) {
		t.Errorf("looks in %q", f)
	}
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		add, drop []string
		privs     bool
		has, not  string
	}{
		{nil, nil, false, "CHOWN", "SYS_ADMIN"},
		{[]string{"NET_ADMIN"}, []string{"ALL"}, false, "NET_ADMIN", "CHOWN"},
		{[]string{"ALL"}, []string{"SYS_ADMIN"}, false, "BPF", "SYS_ADMIN"},
		{[]string{"cap_sys_time"}, []string{"KILL"}, false, "SYS_TIME", "KILL"},
	} {
		mask, err := capMask(c.add, c.drop, c.privs)
		if err != nil || mask>>capBits[c.has]&1 == 0 || mask>>capBits[c.not]&1 == 1 {
			t.Errorf("+%v -%v: %#x %v", c.add, c.drop, mask, err)
		}
	}
	if _, err := capMask([]string{"FLY"}, nil, false); err == nil {
		t.Error("an unknown capability was taken")
	}
}

// Options that are called plain say what they mean to the kernel: as many lower directories as layers.
func TestOverlayOptions(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dirs := rapid.SliceOfN(rapid.StringMatching(`/[a-z:,\\/]{1,60}`), 3, 130).Draw(r, "dirs")
		options, plain := overlayOptions(dirs)
		if !plain {
			return
		}
		lower, _, _ := strings.Cut(strings.TrimPrefix(options, "lowerdir="), ",")
		if !slices.Equal(strings.Split(lower, ":"), dirs[:len(dirs)-2]) || len(options) > optionsBytesMax {
			r.Fatalf("%q for %q", options, dirs)
		}
	})
}

func TestManyLayers(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	spec := n.spec("p", "c", "exit 6")
	for i := range 120 {
		spec.Layers = append(spec.Layers, n.emptyLayer(strings.Repeat("l", 60)+string(rune('a'+i%26))+strings.Repeat("x", i/26)))
	}
	n.start(e, "p", spec)
	if x := n.exit(e); x.ExitCode != 6 {
		t.Errorf("ended as %+v", x)
	}
}

func TestUsageOfBothVersions(t *testing.T) {
	for _, c := range []struct {
		name string
		mem  map[string]uint64
	}{
		{"v1", map[string]uint64{"inactive_file": 1, "total_inactive_file": 300, "rss": 2, "total_rss": 500, "total_pgfault": 7, "total_pgmajfault": 1}},
		{"v2", map[string]uint64{"inactive_file": 300, "anon": 500, "pgfault": 7, "pgmajfault": 1}},
	} {
		st := cgroups.NewStats()
		st.CpuStats.CpuUsage.TotalUsage = 9
		st.MemoryStats.Usage.Usage, st.MemoryStats.Stats = 1000, c.mem
		u := usageOf(st, time.Unix(5, 0))
		want := runtime.Usage{Time: time.Unix(5, 0), CPUNanos: 9, MemoryBytes: 1000, WorkingSetBytes: 700, RSSBytes: 500, PageFaults: 7, MajorPageFaults: 1}
		if u != want {
			t.Errorf("%s: %+v, want %+v", c.name, u, want)
		}
	}
}
