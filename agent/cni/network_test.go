package cni

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// plugin writes down what it is asked, with the network namespace and the capabilities, and does what the files beside it say.
const plugin = `#!/bin/sh
dir=$(dirname "$0")
conf=$(cat)
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'
  exit
fi
echo "$CNI_COMMAND $CNI_CONTAINERID ${CNI_NETNS:-none} $(echo "$conf" | grep -o '"runtimeConfig":{[^}]*}')" >>"$dir/log"
if [ -e "$dir/fail-$CNI_COMMAND" ]; then
  echo '{"cniVersion":"1.0.0","code":100,"msg":"it was told to"}'
  exit 1
fi
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","interfaces":[{"name":"host"},{"name":"eth0","sandbox":"'$CNI_NETNS'"}],
 "ips":[{"address":"192.0.2.1/24","interface":0},{"address":"10.1.0.7/24","interface":1},{"address":"10.1.0.8/24","interface":1},{"address":"fd00::7/64","interface":1}]}'
exit 0
`

type bench struct {
	t    *testing.T
	dir  string
	pods map[string]*corev1.Pod
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	b := &bench{t: t, dir: t.TempDir(), pods: map[string]*corev1.Pod{}}
	b.write("plugin", plugin, 0o755)
	b.write("net.conflist", `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"plugin","capabilities":{"ipRanges":true,"portMappings":true}}]}`, 0o644)
	b.pods["p"] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: types.UID("p")},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}, {ContainerPort: 81}}}}}}
	return b
}

func (b *bench) write(name, text string, mode os.FileMode) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
}

// start is a new agent's network, over what earlier ones left.
func (b *bench) start() *Network {
	b.t.Helper()
	n, err := New(context.Background(), Config{Conf: b.dir, Plugins: []string{b.dir}, StateDir: filepath.Join(b.dir, "state"),
		Pod: func(uid string) *corev1.Pod { return b.pods[uid] }})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := n.Setup(b.t.Context(), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("10.1.0.0/24")); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// asked is what the plugin was asked since the last time.
func (b *bench) asked() string {
	b.t.Helper()
	path := filepath.Join(b.dir, "log")
	text, _ := os.ReadFile(path)
	_ = os.Remove(path)
	return strings.TrimSpace(string(text))
}

// space is a network namespace, until the function is called.
func (b *bench) space() (path string, end func()) {
	b.t.Helper()
	c := exec.Command("sleep", "1000")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	over := false
	end = func() {
		if !over {
			over = true
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	b.t.Cleanup(end)
	return fmt.Sprintf("/proc/%d/ns/net", c.Process.Pid), end
}

func (b *bench) attach(n *Network, path string) {
	b.t.Helper()
	ips, err := n.Attach(b.t.Context(), "p", path)
	if err != nil || fmt.Sprint(ips) != "[fd00::7 10.1.0.7]" { // one of each family, the node's first one first, and none of the host's link
		b.t.Fatal(ips, err)
	}
}

func (b *bench) want(asked ...string) {
	b.t.Helper()
	if got, want := b.asked(), strings.Join(asked, "\n"); got != want {
		b.t.Fatalf("asked:\n%s\nwant:\n%s", got, want)
	}
}

const capabilities = ` "runtimeConfig":{"ipRanges":[[{"subnet":"fd00::/64"}`

func TestAttachmentOutlivesAgents(t *testing.T) {
	b := newBench(t)
	path, end := b.space()
	b.attach(b.start(), path)
	b.want("DEL p none"+capabilities, "ADD p "+path+capabilities)
	b.attach(b.start(), path)
	b.want("CHECK p " + path + capabilities)

	b.write("fail-CHECK", "", 0o644) // what is there is of no use
	b.attach(b.start(), path)
	b.want("CHECK p "+path+capabilities, "DEL p "+path+capabilities, "ADD p "+path+capabilities)

	end() // the machine was restarted: the old namespace is not there to be named
	again, _ := b.space()
	b.attach(b.start(), again)
	b.want("DEL p none"+capabilities, "ADD p "+again+capabilities)
	n := b.start()
	for range 2 { // the second finds nothing
		if err := n.Detach(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
	}
	b.want("DEL p "+again+capabilities, "DEL p none"+capabilities)
}

func TestFailuresNameThePlugin(t *testing.T) {
	b := newBench(t)
	path, _ := b.space()
	n := b.start()
	b.write("fail-ADD", "", 0o644)
	_, err := n.Attach(t.Context(), "p", path)
	if err == nil || !strings.Contains(err.Error(), `network "net": plugin type="plugin" failed (add): it was told to`) {
		t.Fatal(err)
	}
	b.want("DEL p none"+capabilities, "ADD p "+path+capabilities, "DEL p "+path+capabilities) // what it did in part is undone
	_ = os.Remove(filepath.Join(b.dir, "fail-ADD"))
	b.attach(n, path)
	b.write("fail-DEL", "", 0o644)
	if err := n.Detach(t.Context(), "p"); err == nil || !strings.Contains(err.Error(), `plugin type="plugin" failed (delete): it was told to`) {
		t.Fatal(err)
	}
	if _, err := n.Attach(t.Context(), "p", "/proc/self/ns/net"); err == nil || !strings.Contains(err.Error(), "of the node, not of a pod") {
		t.Fatal(err)
	}
	b.write("net.conflist", `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"plugin","ipam":{"type":"no-such"}}]}`, 0o644)
	_, err = New(t.Context(), Config{Conf: b.dir, Plugins: []string{b.dir}, StateDir: b.dir})
	if err == nil || !strings.Contains(err.Error(), `plugin "no-such" of plugin "plugin": failed to find plugin "no-such"`) {
		t.Fatal(err)
	}
}

// TestKeep: pods that are gone are detached, those that this agent has attached are not, and a plugin that is asked for CHECK may say no.
func TestKeep(t *testing.T) {
	b := newBench(t)
	path, _ := b.space()
	b.attach(b.start(), path)
	b.asked()
	n := b.start()
	b.write("fail-CHECK", "", 0o644)
	n.Keep(t.Context(), map[string]bool{"p": true})
	b.want("CHECK p " + path + capabilities)
	n.Keep(t.Context(), nil)
	b.want("DEL p " + path + capabilities)
	b.attach(n, path)
	b.asked()
	n.Keep(t.Context(), nil)
	b.want("")
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want("DEL p " + path + capabilities)
}

func TestRead(t *testing.T) {
	list := func(name, plugin string) string {
		return `{"cniVersion":"1.0.0","name":"` + name + `","plugins":[{"type":"` + plugin + `"}]}`
	}
	for _, c := range []struct {
		files map[string]string
		want  string // the network's name, or part of the error
	}{
		{map[string]string{"20.conflist": list("b", "x"), "10.conflist": list("a", "x"), "00.txt": "no"}, "a"},
		{map[string]string{"00-peapod.conflist": list("peapod", "peapod-cni"), "10.conflist": list("a", "x")}, "a"}, // ours leads back here
		{map[string]string{"10.conf": `{"cniVersion":"1.0.0","name":"single","type":"x"}`}, "single"},
		{map[string]string{"10.conflist": "{"}, "10.conflist: "},
		{nil, "has no network configuration"},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := read(dir)
		if err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got.Name != c.want {
			t.Errorf("%v: %v, %v", c.files, got, err)
		}
	}
}

func TestRuntimeConf(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kubernetes.io/egress-bandwidth": "10M", "kubernetes.io/ingress-bandwidth": "much"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{ContainerPort: 53, HostPort: 5353, Protocol: corev1.ProtocolUDP, HostIP: "127.0.0.1"}, {ContainerPort: 80}, {ContainerPort: 81, HostPort: 82}}}}}}
	rt := runtimeConf(pod, "/ns", "space", nil)
	want := "map[bandwidth:{0 0 10000000 2147483647} peapod.namespace:space portMappings:[{5353 53 udp 127.0.0.1} {82 81 tcp }]]"
	if got := fmt.Sprint(rt.CapabilityArgs); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
