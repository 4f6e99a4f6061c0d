package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func itoa(n int) string { return strconv.Itoa(n) }

const profileText = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28},
 {"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}]}`

// The container and its commands have the same filter, each way of installing it.
func TestSeccomp(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if !CanFilter {
		n.pod(e, runtime.SandboxSpec{PodUID: "p"})
		s := n.spec("p", "c", "true")
		s.Seccomp = runtime.ProfileDefault
		if _, err := e.StartContainer(t.Context(), s); err == nil || !strings.Contains(err.Error(), "built without seccomp") {
			t.Errorf("a filter that cannot be made: %v", err)
		}
		return
	}
	own := filepath.Join(n.dir, "profile.json")
	if err := os.WriteFile(own, []byte(profileText), 0o600); err != nil {
		t.Fatal(err)
	}
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	n.pod(e, runtime.SandboxSpec{PodUID: "u", OwnUsers: true})
	filters := "grep Seccomp: /proc/self/status; true "
	for id, c := range map[string]struct {
		pod    string
		set    func(s *runtime.ContainerSpec)
		script string // the same in the container as in a command
		want   string
	}{
		"none":    {"p", func(s *runtime.ContainerSpec) {}, filters, "Seccomp:\t0\n"},
		"default": {"p", func(s *runtime.ContainerSpec) { s.Seccomp = runtime.ProfileDefault }, filters + "; unshare -U true 2>/dev/null || echo no", "Seccomp:\t2\nno\n"},
		"allowed": {"p", func(s *runtime.ContainerSpec) { s.Seccomp, s.CapAdd = runtime.ProfileDefault, []string{"SYS_ADMIN"} }, filters + "; unshare -U true && echo yes", "Seccomp:\t2\nyes\n"},
		"user": {"p", func(s *runtime.ContainerSpec) {
			s.Seccomp, s.UID, s.NoNewPrivileges = runtime.ProfileDefault, 1000, true
		}, filters + "; grep NoNewPrivs /proc/self/status; unshare -U true 2>/dev/null || echo no",
			"Seccomp:\t2\nNoNewPrivs:\t1\nno\n"},
		"own": {"p", func(s *runtime.ContainerSpec) { s.Seccomp = own }, filters + "; mkdir /tmp/d 2>&1 | grep -o 'No space.*'; sh -c 'kill -USR1 $$' || echo refused; kill -0 $$ && echo sent",
			"Seccomp:\t2\nNo space left on device\nrefused\nsent\n"},
		"users": {"u", func(s *runtime.ContainerSpec) { s.Seccomp = own }, filters + "; mkdir /tmp/d 2>&1 | grep -o 'No space.*'", "Seccomp:\t2\nNo space left on device\n"},
	} {
		s := n.spec(c.pod, id, c.script+"; touch /tmp/done; exec sleep 1000")
		c.set(&s)
		n.add(e, s)
		if out, _ := n.exec(e, id, "sh", "-c", "while ! test -e /tmp/done; do :; done; "+c.script); out != c.want {
			t.Errorf("%s: a command says %q, want %q", id, out, c.want)
		}
		if err := e.visor.client.Flush(id); err != nil {
			t.Fatal(err)
		}
		log := n.log(id)
		for _, line := range strings.Split(strings.TrimSpace(c.want), "\n") {
			if !strings.Contains(log, line) {
				t.Errorf("%s: the container says %q, want %q", id, log, c.want)
			}
		}
	}
	for name, text := range map[string]string{"torn": "{", "no action": "{}", "notify": `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}`,
		"bad action": `{"defaultAction":"SCMP_ACT_FLY"}`, "bad argument": `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`} {
		if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := n.spec("p", "bad", "true")
		s.Seccomp = own
		if _, err := e.StartContainer(t.Context(), s); err == nil {
			t.Errorf("a profile that is %s was taken", name)
		}
	}
	s := n.spec("p", "bad", "true")
	s.Seccomp = own + "-missing"
	if _, err := e.StartContainer(t.Context(), s); err == nil || !strings.Contains(err.Error(), "cannot load seccomp profile") {
		t.Errorf("a missing profile: %v", err)
	}
}

// A command is limited as its container is.
func TestSameLimits(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	s := n.spec("p", "c", "")
	s.Resources.OOMScoreAdj, s.UID, s.GID, s.AdditionalGIDs, s.Cwd, s.Env = 321, 5, 6, []uint32{7, 8}, "/tmp", []string{"PATH=/bin"}
	const says = "ulimit -Sn; ulimit -Hn; umask; cat /proc/self/oom_score_adj; id; echo $HOME; "
	s.Args[2] = says + "touch /tmp/done; exec sleep 1000"
	n.add(e, s)
	out, _ := n.exec(e, "c", "sh", "-c", "while ! test -e /tmp/done; do :; done; "+says)
	if err := e.visor.client.Flush("c"); err != nil {
		t.Fatal(err)
	}
	if log := n.log("c"); log != out || !strings.HasPrefix(out, fmt.Sprintf("%d\n%d\n0022\n321\nuid=5 gid=6 groups=", rlimits()[0].Soft, rlimits()[0].Hard)) || !strings.HasSuffix(out, "\n/\n") {
		t.Errorf("the container has %q, a command %q", log, out)
	}
}

func TestUnmaskedProc(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	n.add(e, n.spec("p", "masked", "exec sleep 1000"))
	s := n.spec("p", "open", "exec sleep 1000")
	s.UnmaskedProc = true
	n.add(e, s)
	n.want(e, "masked", "! grep -q . /proc/timer_list 2>/dev/null && grep -q ' /proc/sys proc ro' /proc/mounts")
	n.want(e, "open", "grep -q . /proc/interrupts && ! grep -q ' /proc/sys proc' /proc/mounts")
}

// What is mounted below a volume: read-only all the way down or not, and travelling between node and container or not.
func TestVolumeMounts(t *testing.T) {
	n := newNode(t)
	e := n.open()
	source := n.emptyLayer("source")
	mount := func(from, to, kind string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(from, to, kind, flags, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
	}
	mount("source", source, "tmpfs", 0)
	if err := os.MkdirAll(source+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	mount("below", source+"/below", "tmpfs", 0)
	if err := os.Mkdir(source+"/late", 0o755); err != nil {
		t.Fatal(err)
	}
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	one := func(id string, m runtime.Mount) error {
		s := n.spec("p", id, "exec sleep 1000")
		s.Privileged = true
		m.Source, m.Target = source, "/v"
		s.Mounts = []runtime.Mount{m}
		_, err := e.StartContainer(t.Context(), s)
		return err
	}
	for id, m := range map[string]runtime.Mount{"shallow": {ReadOnly: true}, "deep": {ReadOnly: true, RecursiveReadOnly: true}} {
		if err := one(id, m); err != nil {
			t.Fatal(err)
		}
	}
	n.want(e, "shallow", "! touch /v/x 2>/dev/null && touch /v/below/x")
	n.want(e, "deep", "! touch /v/x 2>/dev/null && ! touch /v/below/y 2>/dev/null")
	if err := unix.Mount("", source, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	for _, p := range []runtime.Propagation{runtime.PropagateBoth, runtime.PropagateFromHost} {
		if err := one("private", runtime.Mount{Propagation: p}); err == nil || !strings.Contains(err.Error(), "is not a shared") {
			t.Errorf("a private mount to be propagated: %v", err)
		}
	}
	if err := unix.Mount("", source, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	for id, p := range map[string]runtime.Propagation{"none": runtime.PropagateNone, "from": runtime.PropagateFromHost, "both": runtime.PropagateBoth} {
		if err := one(id, runtime.Mount{Propagation: p}); err != nil {
			t.Fatal(err)
		}
	}
	mount("late", source+"/late", "tmpfs", 0)
	n.want(e, "none", "! grep -q ' /v/late ' /proc/mounts")
	n.want(e, "from", "grep -q ' /v/late ' /proc/mounts")
	n.want(e, "both", "grep -q ' /v/late ' /proc/mounts")
	n.want(e, "from", "mkdir /v/fromdir && busybox mount -t tmpfs x /v/fromdir")
	n.want(e, "both", "mkdir /v/bothdir && busybox mount -t tmpfs x /v/bothdir")
	t.Cleanup(func() { _ = unix.Unmount(source+"/bothdir", unix.MNT_DETACH) })
	if ok, _ := mountinfo.Mounted(source + "/bothdir"); !ok {
		t.Error("a mount of a bidirectional volume is not seen on the node")
	}
	if ok, _ := mountinfo.Mounted(source + "/fromdir"); ok {
		t.Error("a mount of a volume that follows the node is seen on the node")
	}
}

// A fork bomb stops at its limit, and it can be ended.
func TestPidsMax(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p", Resources: runtime.Resources{PidsMax: 40}})
	n.add(e, n.spec("p", "bomb", "while :; do sleep 1000 & done")) // busybox's shell ends when it cannot fork
	if x := n.exit(e); x.ExitCode == 0 {
		t.Errorf("ended as %+v", x)
	}
	if log := n.log("bomb"); !strings.Contains(log, "fork") {
		t.Errorf("it says %q", log)
	}
}
