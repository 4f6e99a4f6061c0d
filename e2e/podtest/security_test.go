package podtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

const status = "cat /proc/self/status | grep -E '^(%s):' | cut -f2 | tr -d ' '"

func statusOf(names string) string { return fmt.Sprintf(status, names) }

// Users and groups of the container, of its commands and of its status agree.
func TestUsersAndGroups(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	confineRun(t, k, "a strict",
		confinePod("a", `"securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000, "supplementalGroups": [4000, 5000]}`, `"securityContext": {"runAsUser": 1001}`),
		confinePod("strict", `"securityContext": {"runAsUser": 0, "runAsGroup": 7, "supplementalGroups": [4000], "supplementalGroupsPolicy": "Strict"}`, ""))
	confineSays(t, k, "a", "id -u; id -g; id -G", "1001\n2000\n2000 3000 4000 5000")
	confineSays(t, k, "a", "cat /proc/1/status | grep ^Groups: | cut -f2", "2000 3000 4000 5000")
	confineField(t, k, "pod/a", ".status.containerStatuses[0].user.linux", `{"gid":2000,"supplementalGroups":[2000,3000,4000,5000],"uid":1001}`)
	confineSays(t, k, "strict", "id -G", "7 4000")
}

// Capabilities: the defaults, more, fewer, none, and all of them; and none for who is not root.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	confineRun(t, k, "plain drop add user nnp",
		confinePod("plain", "", ""),
		confinePod("drop", "", `"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}`),
		confinePod("add", "", `"securityContext": {"capabilities": {"add": ["SYS_TIME"], "drop": ["MKNOD"]}}`),
		confinePod("user", "", `"securityContext": {"runAsUser": 1000}`),
		confinePod("nnp", "", `"securityContext": {"allowPrivilegeEscalation": false}`))
	for pod, want := range map[string]string{
		"plain": "0000000000000000\n00000000a80425fb\n00000000a80425fb\n00000000a80425fb\n0000000000000000\n0",
		"drop":  "0000000000000000\n0000000000000400\n0000000000000400\n0000000000000400\n0000000000000000\n0",
		"add":   "0000000000000000\n00000000a20425fb\n00000000a20425fb\n00000000a20425fb\n0000000000000000\n0",
		"user":  "0000000000000000\n0000000000000000\n0000000000000000\n00000000a80425fb\n0000000000000000\n0",
		"nnp":   "0000000000000000\n00000000a80425fb\n00000000a80425fb\n00000000a80425fb\n0000000000000000\n1",
	} {
		confineSays(t, k, pod, statusOf("Cap...|NoNewPrivs"), want)
		confineSays(t, k, pod, strings.Replace(statusOf("Cap...|NoNewPrivs"), "self", "1", 1), want)
	}
}

// A privileged container has the node's devices and may write where others may not read.
func TestPrivileged(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	confineRun(t, k, "priv plain readonly",
		confinePod("priv", `"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}`, `"securityContext": {"privileged": true}`),
		confinePod("plain", "", ""),
		confinePod("readonly", `"volumes": [{"name": "v", "emptyDir": {}}]`, `"securityContext": {"readOnlyRootFilesystem": true}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]`))
	confineSays(t, k, "priv", "test -e /dev/kmsg && mount -t tmpfs x /mnt 2>/dev/null || mkdir -p /m && mount -t tmpfs x /m && echo mounted; "+statusOf("Seccomp"), "mounted\n0")
	confineSays(t, k, "priv", "grep -c ' /sys sysfs rw' /proc/mounts; grep -c ' /proc/sys ' /proc/mounts", "1\n0")
	confineSays(t, k, "plain", "test -e /dev/kmsg || echo none; grep -c ' /sys sysfs ro' /proc/mounts; grep -c ' /proc/sys proc ro' /proc/mounts; cat /proc/keys | wc -c", "none\n1\n1\n0")
	confineSays(t, k, "readonly", "touch /x 2>/dev/null || echo refused; touch /v/x && echo taken", "refused\ntaken")
}

// The default profile, one of the node's own, and none: for the container and for its commands.
func TestSeccompProfiles(t *testing.T) {
	t.Parallel()
	l, k := confineSpace(t)
	const profile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}`
	for _, n := range l.Nodes {
		if n.Role != "client" {
			continue
		}
		dir := filepath.Join(n.Dir, "data", "node", "seccomp", "profiles")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "nodir.json"), []byte(profile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	local := `"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/%s.json"}}`
	own := fmt.Sprintf(local, "nodir")
	marked := func(name, pod, container string) string { // the container itself tells what it may
		return strings.Replace(confinePod(name, pod, container), `"while`, `"mkdir /tmp/d || echo no dir; unset x; while`, 1)
	}
	confineRun(t, k, "default local unconfined user overruled",
		marked("default", `"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}`, ""),
		marked("local", own, ""),
		marked("unconfined", `"securityContext": {"seccompProfile": {"type": "Unconfined"}}`, ""),
		marked("user", `"securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}`, `"securityContext": {"allowPrivilegeEscalation": false}`),
		marked("overruled", own, `"securityContext": {"seccompProfile": {"type": "Unconfined"}}`),
		marked("missing", fmt.Sprintf(local, "missing"), ""))
	for pod, want := range map[string]string{"default": "2", "local": "2", "unconfined": "0", "user": "2", "overruled": "0"} {
		confineSays(t, k, pod, statusOf("Seccomp"), want)
		confineSays(t, k, pod, strings.Replace(statusOf("Seccomp"), "self", "1", 1), want)
	}
	confineSays(t, k, "local", "mkdir /tmp/e 2>/dev/null || echo refused; touch /tmp/f && echo taken", "refused\ntaken")
	confineSays(t, k, "overruled", "mkdir /tmp/e && echo made", "made")
	kit.WantMatch(t, k.Must(t, "logs", "local"), "no dir")
	if out := k.Must(t, "logs", "default"); out != "" {
		t.Errorf("the default profile forbids what it should not: %q", out)
	}
	kit.Eventually(t, confineLimit, "the missing profile is told", func() error {
		return kit.Matches(k.Must(t, "describe", "pod", "missing"), `cannot load seccomp profile ".*/seccomp/profiles/missing.json"`)
	})
}

// Safe sysctls are set, others are refused by the node.
func TestSysctls(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	sysctls := func(name, value string) string {
		return fmt.Sprintf(`"securityContext": {"sysctls": [{"name": %q, "value": %q}]}`, name, value)
	}
	confineRun(t, k, "safe slashed",
		confinePod("safe", sysctls("net.ipv4.ip_unprivileged_port_start", "77"), ""),
		confinePod("slashed", sysctls("kernel/shm_rmid_forced", "1"), ""),
		confinePod("unsafe", sysctls("kernel.msgmax", "65536"), ""))
	confineSays(t, k, "safe", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "77")
	confineSays(t, k, "slashed", "cat /proc/sys/kernel/shm_rmid_forced", "1")
	confineField(t, k, "pod/unsafe", ".status.phase", "Failed")
	confineField(t, k, "pod/unsafe", ".status.reason", "SysctlForbidden")
	confineField(t, k, "pod/unsafe", ".status.message", `Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted`)
}

// A pod that wants AppArmor does not run without it on a node that has none.
func TestAppArmor(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil && strings.HasPrefix(string(b), "Y") {
		confineRun(t, k, "", confinePod("a", `"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "no-such-profile"}}`, ""))
		kit.Eventually(t, confineLimit, "the missing profile is told", func() error {
			return kit.Matches(k.Must(t, "describe", "pod", "a"), `apparmor profile not found no-such-profile`)
		})
		return
	}
	confineRun(t, k, "b", confinePod("a", `"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}`, ""),
		confinePod("b", `"securityContext": {"appArmorProfile": {"type": "Unconfined"}}`, ""))
	confineField(t, k, "pod/a", ".status.phase", "Failed")
	confineField(t, k, "pod/a", ".status.reason", "AppArmor")
	confineField(t, k, "pod/a", ".status.message", "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host")
}

// A pod with a user namespace is root inside and nobody outside; volumes, commands, probes and the network work.
func TestUserNamespaces(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	k.Must(t, "create", "configmap", "c", "--from-literal=key=word")
	demo := func(name, pod, container string) string { // its wget is no statically linked C program
		return strings.Replace(confinePod(name, pod, container), "busybox", "peapod/demo", 1)
	}
	confineRun(t, k, "a b unmasked",
		demo("a", `"hostUsers": false, "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}]`,
			`"readinessProbe": {"exec": {"command": ["test", "-e", "/v"]}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "c", "mountPath": "/c"}], "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}`),
		demo("b", `"hostUsers": false, "securityContext": {"runAsUser": 1000, "runAsGroup": 1000}`, ""),
		confinePod("unmasked", `"hostUsers": false`, `"securityContext": {"procMount": "Unmasked"}`))
	const base = "cat /proc/self/uid_map | tr -s ' ' | cut -d' ' -f%d"
	confineSays(t, k, "a", "id -u; "+fmt.Sprintf(base, 4)+"; touch /v/x /bin/x && stat -c %u /v/x; cat /c/key; "+statusOf("Seccomp"), "0\n65536\n0\nword2")
	confineSays(t, k, "b", "id -u; touch /x 2>/dev/null || echo refused; echo word > /dev/stderr && hostname", "1000\nrefused\nb")
	confineSays(t, k, "unmasked", "grep -c ' /proc/sys ' /proc/mounts", "0")
	if out := k.Must(t, "exec", "a", "--", "sh", "-c", fmt.Sprintf(base, 3)); strings.TrimSpace(out) == "0" {
		t.Errorf("the pod's root is the node's: %s", out)
	}
	confineSays(t, k, "a", "wget -q -O - -T 5 http://"+k.Must(t, "get", "pod", "b", "-o", "jsonpath={.status.podIP}")+":1/ 2>&1 | grep -c refused", "1")
}

// The node bounds what a pod may fork.
func TestPidsLimit(t *testing.T) {
	t.Parallel()
	l, k := confineSpace(t)
	confineRun(t, k, "a", confinePod("a", "", ""))
	node := l.Node(t, k.Must(t, "get", "pod", "a", "-o", "jsonpath={.spec.nodeName}"))
	below := filepath.Join(node.Cgroup, "pods/pods", k.Must(t, "get", "pod", "a", "-o", "jsonpath={.metadata.uid}"), "pids.max")
	var got []string
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} { // v1, v2
		if b, err := os.ReadFile(filepath.Join(root, below)); err == nil {
			got = append(got, strings.TrimSpace(string(b)))
		}
	}
	if len(got) != 1 || got[0] != "8192" {
		t.Errorf("the pod's limit is %q", got)
	}
}
