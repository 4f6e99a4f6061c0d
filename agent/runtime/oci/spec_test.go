package oci

import (
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func TestNamespacesOfSpec(t *testing.T) {
	for name, c := range map[string]struct {
		f       frame
		unified bool
		want    string // type=path, "" is a new one
	}{
		"plain":        {frame{pause: 7}, false, "NEWNS= NEWIPC=7 NEWNET=7 NEWUTS=7 NEWPID="},
		"cgroup v2":    {frame{pause: 7}, true, "NEWNS= NEWIPC=7 NEWNET=7 NEWUTS=7 NEWPID= NEWCGROUP="},
		"shared":       {frame{pause: 7, spec: runtime.SandboxSpec{SharePID: true}}, false, "NEWNS= NEWIPC=7 NEWNET=7 NEWUTS=7 NEWPID=7"},
		"target":       {frame{pause: 7, target: 9}, false, "NEWNS= NEWIPC=7 NEWNET=7 NEWUTS=7 NEWPID=9"},
		"shared debug": {frame{pause: 7, target: 9, spec: runtime.SandboxSpec{SharePID: true}}, false, "NEWNS= NEWIPC=7 NEWNET=7 NEWUTS=7 NEWPID=9"},
		"users":        {frame{pause: 7, userBase: 65536}, true, "NEWNS= NEWIPC=7 NEWNET=7 NEWUTS=7 NEWUSER=7 NEWPID= NEWCGROUP="},
		"host":         {frame{pause: 7, spec: runtime.SandboxSpec{HostNetwork: true, HostPID: true, HostIPC: true}}, false, "NEWNS="},
	} {
		var got []string
		for _, ns := range (cgroupLayout{unified: c.unified}).namespaces(c.f) {
			pid := strings.TrimPrefix(ns.Path, "/proc/")
			pid, _, _ = strings.Cut(pid, "/")
			got = append(got, string(ns.Type)+"="+pid)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

func TestContainerConfig(t *testing.T) {
	l := cgroupLayout{parent: "p", unified: true}
	m := []runtime.Mount{{Source: "/etc", Target: "/a", ReadOnly: true, RecursiveReadOnly: true}, {FSType: "tmpfs", Target: "/t"}}
	cfg, err := l.containerConfig(runtime.ContainerSpec{ID: "c", PodUID: "u", Mounts: m, AppArmor: "profile", NoNewPrivileges: true},
		frame{pause: 7, userBase: 131072, shm: "/shm", spec: runtime.SandboxSpec{Hostname: "h", Sysctls: map[string]string{"a": "1"}}}, "/rootfs", 0)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.UIDMappings[0] != (configs.IDMap{HostID: 131072, Size: 65536}) || cfg.GIDMappings[0] != cfg.UIDMappings[0] {
		t.Errorf("mapped as %v %v", cfg.UIDMappings, cfg.GIDMappings)
	}
	for _, m := range cfg.Mounts {
		mapped := m.Destination == "/a"
		if m.IsIDMapped() != mapped || mapped && (m.RecAttr == nil || m.RecAttr.Attr_set != unix.MOUNT_ATTR_RDONLY || m.IDMapping.UserNSPath != "/proc/7/ns/user") {
			t.Errorf("mounted: %+v", m)
		}
	}
	if cfg.AppArmorProfile != "profile" || !cfg.NoNewPrivileges || cfg.Hostname != "h" || cfg.Sysctl["a"] != "1" || len(cfg.MaskPaths) == 0 || len(cfg.Rlimits) != 1 {
		t.Errorf("%+v", cfg)
	}
	open, err := l.containerConfig(runtime.ContainerSpec{UnmaskedProc: true}, frame{pause: 7}, "/rootfs", 0)
	if err != nil || len(open.MaskPaths)+len(open.ReadonlyPaths) > 0 || open.UIDMappings != nil {
		t.Errorf("%+v, %v", open, err)
	}
}

func TestPropagation(t *testing.T) {
	for _, c := range []struct {
		mounts []runtime.Mount
		want   int
	}{
		{nil, unix.MS_PRIVATE | unix.MS_REC},
		{[]runtime.Mount{{Propagation: runtime.PropagateFromHost}, {}}, unix.MS_SLAVE | unix.MS_REC},
		{[]runtime.Mount{{Propagation: runtime.PropagateBoth}, {Propagation: runtime.PropagateFromHost}}, unix.MS_SHARED | unix.MS_REC},
	} {
		if got := rootPropagation(c.mounts); got != c.want {
			t.Errorf("%v: %#x", c.mounts, got)
		}
	}
	list := []*mountinfo.Info{{Mountpoint: "/", Optional: "shared:1"}, {Mountpoint: "/slave", Optional: "master:1"}, {Mountpoint: "/own"}, {Mountpoint: "/own", Optional: "shared:3"}}
	for _, c := range []struct {
		upTo int // how many of the list
		p    runtime.Propagation
		ok   bool
	}{
		{0, runtime.PropagateBoth, false}, {1, runtime.PropagateBoth, true}, {1, runtime.PropagateFromHost, true}, {2, runtime.PropagateBoth, false},
		{2, runtime.PropagateFromHost, true},
	} {
		if err := sharedEnough(list[:c.upTo], "/x", c.p); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if sharedEnough(list[2:3], "/own", runtime.PropagateFromHost) == nil || sharedEnough(list[2:], "/own", runtime.PropagateBoth) != nil {
		t.Error("the topmost of two mounts at one place counts")
	}
}
