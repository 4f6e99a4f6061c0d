package oci

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Paths that show or change the machine rather than the container.
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// frame is what a container takes from its pod.
type frame struct {
	spec     runtime.SandboxSpec
	pause    int    // pid that holds the namespaces
	target   int    // pid whose PID namespace is joined; 0 for none
	userBase uint32 // first id on the node of the pod's user namespace; 0 if it has none of its own
	shm      string // directory for /dev/shm
}

// containerConfig says spec in libcontainer's words.
func (l cgroupLayout) containerConfig(spec runtime.ContainerSpec, f frame, rootfs string, caps uint64) (*configs.Config, error) {
	devs, rules := baseDevices(), allowedRules()
	if spec.Privileged {
		host, err := hostDevices()
		if err != nil {
			return nil, err
		}
		devs = host
		rules = []*devices.Rule{{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm", Allow: true}}
	}
	mounts, err := l.mounts(spec, f)
	if err != nil {
		return nil, err
	}
	names := capNames(caps)
	cfg := &configs.Config{
		Rootfs:          rootfs,
		Readonlyfs:      spec.ReadOnlyRootfs,
		RootPropagation: rootPropagation(spec.Mounts),
		Mounts:          mounts,
		Devices:         devs,
		Namespaces:      l.namespaces(f),
		Rlimits:         rlimits(),
		Capabilities:    &configs.Capabilities{Bounding: names, Effective: names, Permitted: names},
		NoNewPrivileges: spec.NoNewPrivileges,
		NoNewKeyring:    true,
		Cgroups: &cgroups.Cgroup{
			Path:      l.container(spec.PodUID, spec.ID),
			Resources: l.resources(spec.Resources, rules),
		},
		AppArmorProfile: spec.AppArmor,
		Sysctl:          f.spec.Sysctls,
		Version:         "1.2.0",
	}
	if f.userBase != 0 {
		cfg.UIDMappings, cfg.GIDMappings = idMappings(f.userBase), idMappings(f.userBase)
	}
	if !f.spec.HostNetwork {
		cfg.Hostname = f.spec.Hostname
	}
	if spec.Resources.OOMScoreAdj != 0 {
		adj := spec.Resources.OOMScoreAdj
		cfg.OomScoreAdj = &adj
	}
	if !spec.Privileged && !spec.UnmaskedProc {
		cfg.MaskPaths, cfg.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	return cfg, nil
}

// namespaces joins the pod's and makes the container's own. A cgroup namespace only on pure v2, as
// other runtimes do.
func (l cgroupLayout) namespaces(f frame) configs.Namespaces {
	ns := configs.Namespaces{{Type: configs.NEWNS}}
	join := func(t configs.NamespaceType) {
		n := configs.Namespace{Type: t}
		ns = append(ns, configs.Namespace{Type: t, Path: n.GetPath(f.pause)})
	}
	if !f.spec.HostIPC {
		join(configs.NEWIPC)
	}
	if !f.spec.HostNetwork {
		join(configs.NEWNET)
		join(configs.NEWUTS)
	}
	if f.userBase != 0 {
		join(configs.NEWUSER)
	}
	switch {
	case f.target != 0:
		n := configs.Namespace{Type: configs.NEWPID}
		ns = append(ns, configs.Namespace{Type: configs.NEWPID, Path: n.GetPath(f.target)})
	case f.spec.SharePID:
		join(configs.NEWPID)
	case !f.spec.HostPID:
		ns = append(ns, configs.Namespace{Type: configs.NEWPID})
	}
	if l.unified {
		ns = append(ns, configs.Namespace{Type: configs.NEWCGROUP})
	}
	return ns
}

const secure = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV

func (l cgroupLayout) mounts(spec runtime.ContainerSpec, f frame) ([]*configs.Mount, error) {
	sys := secure
	if !spec.Privileged {
		sys |= unix.MS_RDONLY
	}
	out := []*configs.Mount{
		{Source: "proc", Destination: "/proc", Device: "proc", Flags: secure},
		{Source: "tmpfs", Destination: "/dev", Device: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
		{Source: "devpts", Destination: "/dev/pts", Device: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{Source: "mqueue", Destination: "/dev/mqueue", Device: "mqueue", Flags: secure},
		bind(f.shm, "/dev/shm", false),
		{Source: "sysfs", Destination: "/sys", Device: "sysfs", Flags: sys},
	}
	if f.spec.HostNetwork {
		// sysfs shows the network namespace of who mounts it; without one of our own it must be the host's.
		out[5] = bind("/sys", "/sys", !spec.Privileged)
	}
	if !l.mountsCgroups(spec, f) {
		out = append(out, &configs.Mount{Source: "cgroup", Destination: "/" + cgroupDir, Device: "cgroup", Flags: sys | unix.MS_RELATIME})
	}
	for _, m := range spec.Mounts {
		c, err := userMount(m)
		if err != nil {
			return nil, err
		}
		if f.userBase != 0 && c.IsBind() {
			c.IDMapping = &configs.MountIDMapping{UserNSPath: fmt.Sprintf("/proc/%d/ns/user", f.pause)}
		}
		out = append(out, c)
	}
	return out, nil
}

func bind(source, target string, readOnly bool) *configs.Mount {
	m := &configs.Mount{Source: source, Destination: target, Device: "bind", Flags: unix.MS_BIND | unix.MS_REC, PropagationFlags: []int{unix.MS_PRIVATE | unix.MS_REC}}
	if readOnly {
		m.Flags |= unix.MS_RDONLY
	}
	return m
}

func userMount(m runtime.Mount) (*configs.Mount, error) {
	if !filepath.IsAbs(m.Target) {
		return nil, fmt.Errorf("the mount's target %q is not absolute", m.Target)
	}
	switch m.FSType {
	case "":
		return userBind(m)
	case "tmpfs":
		c := &configs.Mount{Source: "tmpfs", Destination: m.Target, Device: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=1777"}
		if m.SizeBytes > 0 {
			c.Data += fmt.Sprintf(",size=%d", m.SizeBytes)
		}
		if m.ReadOnly {
			c.Flags |= unix.MS_RDONLY
		}
		return c, nil
	}
	return nil, fmt.Errorf("the mount at %s has the unknown type %q: tmpfs or a bind mount can be made", m.Target, m.FSType)
}

func userBind(m runtime.Mount) (*configs.Mount, error) {
	if _, err := os.Stat(m.Source); err != nil {
		return nil, fmt.Errorf("the source of the mount at %s: %w", m.Target, err)
	}
	c := bind(m.Source, m.Target, m.ReadOnly)
	if m.NoExec {
		c.Flags |= unix.MS_NOEXEC
	}
	if m.RecursiveReadOnly {
		c.RecAttr = &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	}
	if m.Propagation != runtime.PropagateNone {
		if err := checkShared(m); err != nil {
			return nil, err
		}
		c.PropagationFlags = []int{propagationFlags(m.Propagation)}
	}
	return c, nil
}

func baseDevices() []*devices.Device {
	var out []*devices.Device
	for _, d := range specconv.AllowedDevices {
		if d.Path != "" {
			out = append(out, d)
		}
	}
	return out
}

// allowedRules denies all devices and then allows the usual ones.
func allowedRules() []*devices.Rule {
	out := []*devices.Rule{{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm", Allow: false}}
	for _, d := range specconv.AllowedDevices {
		rule := d.Rule
		out = append(out, &rule)
	}
	return out
}
