package oci

import (
	"strconv"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// cgroupView is what a container sees of its cgroups: every hierarchy's mount point with its options and type, and whether it holds the container itself.
const cgroupView = `while read id parent dev root at options rest; do
	case $at in /sys/fs/cgroup/*) echo $at $options ${rest##*- } ${root##*/}; grep -q . $at/cgroup.procs && echo "	with the container";; esac
done < /proc/self/mountinfo`

// The agent's mounts of cgroups look like libcontainer's, which makes them where a volume lies near by.
func TestCgroupMountsAreLibcontainers(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if e.cgroups.unified {
		t.Skip("one hierarchy needs no help")
	}
	for _, privileged := range []bool{false, true} {
		name := "of" + strconv.FormatBool(privileged)
		n.pod(e, runtime.SandboxSpec{PodUID: name})
		var views []string
		for _, mounts := range [][]runtime.Mount{nil, {{Target: "/sys/kernel", FSType: "tmpfs"}}} {
			spec := n.spec(name, "c"+name+strconv.Itoa(len(mounts)), "exec sleep 1000")
			spec.Privileged, spec.Mounts = privileged, mounts
			n.add(e, spec)
			out, code := n.exec(e, spec.ID, "sh", "-c", cgroupView)
			if code != 0 {
				t.Fatal(code, out)
			}
			views = append(views, strings.ReplaceAll(out, spec.ID, "ITSELF"))
		}
		if views[0] != views[1] || strings.Count(views[0], "ITSELF\n\twith the container") < 5 {
			t.Errorf("privileged %v: the agent's\n%s\nlibcontainer's\n%s", privileged, views[0], views[1])
		}
		writes := "touch /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/memory/x"
		if out, code := n.exec(e, "c"+name+"0", "sh", "-c", writes); (code == 0) != privileged {
			t.Errorf("privileged %v: writing to the cgroups: %d %s", privileged, code, out)
		}
	}
}
