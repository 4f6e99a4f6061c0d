package nettest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// conf is a network of Debian's plugins. The addresses come from the node's pod CIDR, which host-local hears as the capability
// ipRanges; where it keeps them is the node's own, since the nodes of a lab share the machine's disk.
const conf = `{
  "cniVersion": "1.0.0", "name": "lab",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "capabilities": {"ipRanges": true},
     "ipam": {"type": "host-local", "dataDir": "DATA", "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
  ]
}`

// writeConf gives a node a directory with its configuration, and returns where host-local will keep addresses.
func writeConf(t *testing.T, dir, node, text string) (data string) {
	t.Helper()
	data = filepath.Join(dir, node, "addresses")
	if err := os.MkdirAll(filepath.Join(dir, node, "net.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "DATA", data)
	if err := os.WriteFile(filepath.Join(dir, node, "net.d", "10-lab.conflist"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return data
}

// taken are the addresses that host-local has given away.
func taken(t *testing.T, data string) (out []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "lab", "10.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, filepath.Base(f))
	}
	return out
}

const ported = `
apiVersion: v1
kind: Pod
metadata: {name: ported, labels: {app: ported}}
spec:
  terminationGracePeriodSeconds: 1
  nodeName: client1
  containers:
  - {name: main, image: peapod/demo, ports: [{containerPort: 8080, hostPort: 18080}]}
`

// TestCNI: pods on two nodes have their network by bridge, host-local and portmap, and all that services do works with it; an
// agent's restart disturbs nobody, and what a pod had is free when it is gone, also if the agent was away.
func TestCNI(t *testing.T) {
	dir := t.TempDir()
	data := map[string]string{}
	for _, n := range []string{"client1", "client2"} {
		data[n] = writeConf(t, dir, n, conf)
	}
	l, k := up(t, "nettestcni", 2, "--client-arg=--cni-conf="+filepath.Join(dir, "{node}", "net.d"))
	connect(t, l, k)
	k.Must(t, "create", "deployment", "web", "--image=peapod/demo", "--replicas=4", "--port=8080")
	k.Must(t, "expose", "deployment", "web", "--port=80", "--target-port=8080")
	k.In(ported).Must(t, "apply", "-f", "-")
	l.ReadyPods(t, k.Namespace, "app=ported", 1, limit)
	for _, p := range l.ReadyPods(t, k.Namespace, "app=web", 4, limit) {
		if held := taken(t, data[p.Spec.NodeName]); !strings.Contains(fmt.Sprint(held), p.Status.PodIP) {
			t.Fatalf("%s has %s, but host-local gave %v", p.Name, p.Status.PodIP, held)
		}
		// From one pod to all pods, by their addresses, whichever node they are on.
		// A pod may be ready before its server is: it has no probe.
		kit.Eventually(t, limit, "a pod answers", func() error {
			return kit.Matches(k.Try("exec", "ported", "--", "wget", "-qO-", "-T", "5", "http://"+p.Status.PodIP+":8080").Out, p.Name)
		})
	}
	if out, _ := l.Exec(t, "client1", "ip", "link"); !strings.Contains(out, "cni0") || strings.Contains(out, "peapod0") {
		t.Fatalf("the links of client1 are %s", out)
	}
	kit.Eventually(t, limit, "the service answers", func() error {
		return kit.Matches(k.Try("exec", "ported", "--", "wget", "-qO-", "-T", "5", "http://web").Out, "web-")
	})
	says(t, "", "http://"+l.Node(t, "client1").Address+":18080", "ported") // portmap's work: the proxy has no such port

	t.Run("restart", func(t *testing.T) { cniRestart(t, l, k, data["client1"]) })
	t.Run("end", func(t *testing.T) {
		k.Must(t, "delete", "deployment/web", "pod/ported")
		for n, d := range data {
			kit.Eventually(t, limit, "host-local has all addresses of "+n+" back", func() error {
				if held := taken(t, d); len(held) > 0 {
					return errors.New(strings.Join(held, " "))
				}
				return nil
			})
		}
		if out, _ := l.Exec(t, "client1", "iptables-save", "-t", "nat"); strings.Contains(out, "18080") {
			t.Errorf("portmap's rules stayed: %s", out)
		}
	})
}

// connect makes the routes between the nodes' pods, which with plugins are not the agent's affair.
func connect(t *testing.T, l *kit.Lab, k kit.Kubectl) {
	t.Helper()
	for _, pair := range [][2]string{{"client1", "client2"}, {"client2", "client1"}} {
		cidr := k.Must(t, "get", "node", pair[1], "-o", "jsonpath={.spec.podCIDR}")
		if out, err := l.Exec(t, pair[0], "ip", "route", "add", strings.TrimSpace(cidr), "via", l.Node(t, pair[1]).Address); err != nil {
			t.Fatal(out)
		}
	}
}

// cniRestart: a pod keeps its address over an agent's restart, and one that is deleted meanwhile loses it.
func cniRestart(t *testing.T, l *kit.Lab, k kit.Kubectl, data string) {
	pods := l.ReadyPods(t, k.Namespace, "app=web", 4, limit)
	var here []string
	for _, p := range pods {
		if p.Spec.NodeName == "client1" {
			here = append(here, p.Name+" "+p.Status.PodIP)
		}
	}
	if len(here) == 0 {
		t.Fatal("no pod of web is on client1")
	}
	lost, ip, _ := strings.Cut(here[0], " ")
	before := k.Must(t, "get", "pod", "ported", "-o", "jsonpath={.status.podIP} {.metadata.uid} {.status.containerStatuses[0].restartCount}")
	l.Do(t, "kill-agent", "client1")
	k.Must(t, "delete", "pod", lost, "--force", "--grace-period=0")
	l.Do(t, "restart", "client1")
	kit.Eventually(t, limit, "the address of the deleted pod is free", func() error {
		if held := taken(t, data); strings.Contains(fmt.Sprint(held), ip) {
			return fmt.Errorf("%s is still among %v", ip, held)
		}
		return nil
	})
	l.ReadyPods(t, k.Namespace, "app=web", 4, limit)
	if after := k.Must(t, "get", "pod", "ported", "-o", "jsonpath={.status.podIP} {.metadata.uid} {.status.containerStatuses[0].restartCount}"); after != before {
		t.Errorf("a pod that nobody touched was %q and is %q", before, after)
	}
	kit.Eventually(t, limit, "the service answers", func() error {
		return kit.Matches(k.Try("exec", "ported", "--", "wget", "-qO-", "-T", "5", "http://web").Out, "web-")
	})
}

// broken has a plugin that is there but fails: its bridge is a name that no link can have.
const broken = `{
  "cniVersion": "1.0.0", "name": "lab",
  "plugins": [{"type": "bridge", "bridge": "a-name-that-is-too-long", "ipam": {"type": "host-local", "dataDir": "DATA", "ranges": [[{"subnet": "10.99.0.0/24"}]]}}]
}`

// TestCNIFails: the pod's event says which plugin failed, and the pod starts once the configuration is mended.
func TestCNIFails(t *testing.T) {
	dir := t.TempDir()
	writeConf(t, dir, "client1", broken)
	l, k := up(t, "nettestcnibad", 1, "--client-arg=--cni-conf="+filepath.Join(dir, "{node}", "net.d"))
	k.In(ported).Must(t, "apply", "-f", "-")
	kit.Eventually(t, limit, "an event names the plugin", func() error {
		return kit.Matches(k.Must(t, "describe", "pod", "ported"), `FailedCreatePodSandBox.*network "lab".*plugin type="bridge" failed \(add\).*a-name-that-is-too-long`)
	})
	data := writeConf(t, dir, "client1", conf)
	l.Do(t, "kill-agent", "client1")
	l.Do(t, "restart", "client1")
	l.ReadyPods(t, k.Namespace, "app=ported", 1, limit)
	if held := taken(t, data); len(held) != 1 {
		t.Errorf("host-local has given %v", held)
	}
}
