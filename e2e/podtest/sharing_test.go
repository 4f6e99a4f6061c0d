package podtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// confinePair is a pod of two containers, a and b.
func confinePair(name, pod, a, b string) string {
	if pod != "" {
		pod += ", "
	}
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q}, "spec": {"terminationGracePeriodSeconds": 0, %s"containers": [
  {"name": "a", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", %q]},
  {"name": "b", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", %q], "readinessProbe": {"exec": {"command": ["true"]}}}]}}
`, name, pod, a, b)
}

const confineIdle = "while :; do sleep 1000; done"

func confineIn(t *testing.T, k kit.Kubectl, pod, container, script, want string) {
	t.Helper()
	r := k.Try("exec", pod, "-c", container, "--", "sh", "-c", script)
	if got := strings.TrimSpace(r.Out); got != want {
		t.Errorf("in %s/%s: %s: got %q (%s), want %q", pod, container, script, got, strings.TrimSpace(r.Err), want)
	}
}

// Containers of a pod share network, shared memory and name; processes only if the pod says so.
func TestContainersShare(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	confineRun(t, k, "alone together",
		confinePair("alone", "", "demo & "+confineIdle, confineIdle),
		confinePair("together", `"shareProcessNamespace": true`, "sleep 7777 & exec sleep 8888", "exec sleep 9999"))
	confineIn(t, k, "alone", "a", "echo word > /dev/shm/x && hostname", "alone")
	confineIn(t, k, "alone", "b", "cat /dev/shm/x; hostname", "word\nalone")
	for _, ns := range []string{"net", "ipc", "uts"} {
		in := func(c string) string {
			return k.Must(t, "exec", "alone", "-c", c, "--", "sh", "-c", "readlink /proc/self/ns/"+ns)
		}
		if in("a") != in("b") {
			t.Errorf("the containers have two namespaces %s", ns)
		}
	}
	count := func(number string) string {
		return "n=0; for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^sleep " + number + " '; then n=$((n+1)); fi; done; echo $n"
	}
	confineIn(t, k, "alone", "b", count("1000")+"; cat /proc/1/comm", "1\nsh")
	confineIn(t, k, "together", "b", count("8888")+"; "+count("7777")+"; cat /proc/1/comm", "1\n1\npause")
	// The end of one container takes its own processes and no others; a command and a probe go on.
	confineIn(t, k, "together", "b", "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^sleep 8888 '; then kill -9 ${p#/proc/}; fi; done; echo sent", "sent")
	confineField(t, k, "pod/together", `.status.containerStatuses[?(@.name=="a")].restartCount`, "1")
	confineField(t, k, "pod/together", `.status.containerStatuses[?(@.name=="a")].ready`, "true")
	confineIn(t, k, "together", "b", count("7777")+"; "+count("9999"), "1\n1")
	confineField(t, k, "pod/together", `.status.containerStatuses[?(@.name=="b")].restartCount`, "0")
}

// With the node's namespaces a pod sees the node.
func TestHostNamespaces(t *testing.T) {
	t.Parallel()
	l, k := confineSpace(t)
	confineRun(t, k, "a plain", confinePod("a", `"hostPID": true, "hostIPC": true, "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"`, ""), confinePod("plain", "", ""))
	for _, ns := range []string{"pid", "ipc", "uts"} {
		own, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		confineSays(t, k, "a", "readlink /proc/self/ns/"+ns, own)
	}
	node := k.Must(t, "get", "pod", "a", "-o", "jsonpath={.spec.nodeName}")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	confineSays(t, k, "a", "hostname; cat /etc/hostname; echo $HOSTNAME", host+"\n"+host+"\n"+host)
	confineField(t, k, "pod/a", ".status.podIP", l.Node(t, node).Address)
	confineSays(t, k, "a", "cat /etc/resolv.conf | grep -c svc.cluster.local", "1")
	confineSays(t, k, "plain", "readlink /proc/self/ns/pid | grep -c .", "1")
}

// Names: hostname, subdomain, the full name, an override, aliases; and what the user mounts stays as it is.
func TestNames(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	full := "h.sub." + k.Namespace + ".svc.cluster.local"
	k.Must(t, "create", "configmap", "hosts", "--from-literal=hosts=mine\n")
	names := `"hostname": "h", "subdomain": "sub"`
	confineRun(t, k, "sub fqdn override aliases mounted dns",
		confinePod("sub", names, ""),
		confinePod("fqdn", names+`, "setHostnameAsFQDN": true`, ""),
		confinePod("override", `"hostnameOverride": "some.other.name"`, ""),
		confinePod("aliases", `"hostAliases": [{"ip": "10.1.2.3", "hostnames": ["one", "two"]}]`, ""),
		confinePod("mounted", `"volumes": [{"name": "h", "configMap": {"name": "hosts"}}]`, `"volumeMounts": [{"name": "h", "mountPath": "/etc/hosts", "subPath": "hosts"}]`),
		confinePod("dns", `"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}]}`, ""))
	confineSays(t, k, "sub", "hostname; cat /etc/hostname; tail -n 1 /etc/hosts | cut -f2-", "h\nh\n"+full+"\th")
	confineSays(t, k, "fqdn", "hostname; cat /etc/hostname; tail -n 1 /etc/hosts | cut -f2-", full+"\n"+full+"\n"+full+"\th")
	confineSays(t, k, "override", "hostname; tail -n 1 /etc/hosts | cut -f2-", "some.other.name\nsome.other.name")
	confineSays(t, k, "aliases", "tail -n 1 /etc/hosts", "10.1.2.3\tone\ttwo")
	confineSays(t, k, "mounted", "cat /etc/hosts", "mine")
	confineSays(t, k, "dns", "cat /etc/resolv.conf", "search a.b\nnameserver 192.0.2.1\noptions ndots:3 edns0")
}

// Read-only mounts, how deep, and what the status says of them.
func TestReadOnlyMounts(t *testing.T) {
	t.Parallel()
	_, k := confineSpace(t)
	confineRun(t, k, "a", confinePod("a", `"automountServiceAccountToken": false, "volumes": [{"name": "v", "emptyDir": {}}]`, `"volumeMounts": [
 {"name": "v", "mountPath": "/w"}, {"name": "v", "mountPath": "/r", "readOnly": true},
 {"name": "v", "mountPath": "/deep", "readOnly": true, "recursiveReadOnly": "Enabled"}, {"name": "v", "mountPath": "/perhaps", "readOnly": true, "recursiveReadOnly": "IfPossible"}]`))
	confineSays(t, k, "a", "for d in w r deep perhaps; do touch /$d/x 2>/dev/null && echo $d; done", "w")
	confineField(t, k, "pod/a", ".status.containerStatuses[0].volumeMounts", `[{"mountPath":"/w","name":"v"},{"mountPath":"/r","name":"v","readOnly":true,"recursiveReadOnly":"Disabled"},`+
		`{"mountPath":"/deep","name":"v","readOnly":true,"recursiveReadOnly":"Enabled"},{"mountPath":"/perhaps","name":"v","readOnly":true,"recursiveReadOnly":"Enabled"}]`)
}

// A host port of a pod's node leads to the pod as long as it runs.
func TestHostPort(t *testing.T) {
	t.Parallel()
	l, k := confineSpace(t)
	const manifest = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
  {"name": "c", "image": "peapod/demo", "imagePullPolicy": "IfNotPresent", "ports": [{"containerPort": 8080, "hostPort": 18080}]}]}}`
	confineRun(t, k, "web", manifest)
	node := l.Node(t, k.Must(t, "get", "pod", "web", "-o", "jsonpath={.spec.nodeName}"))
	kit.Eventually(t, confineLimit, "the node answers for the pod", func() error {
		out, err := l.Exec(t, node.Name, "curl", "-s", "-m", "5", "http://"+node.Address+":18080/")
		if err == nil && !strings.Contains(out, "web") {
			err = fmt.Errorf("somebody else answers: %q", out)
		}
		return err
	})
	k.Must(t, "delete", "pod", "web", "--now")
	kit.Eventually(t, confineLimit, "the port closes", func() error {
		if out, err := l.Exec(t, node.Name, "curl", "-s", "-m", "5", "http://"+node.Address+":18080/"); err == nil {
			return fmt.Errorf("it still answers %q", out)
		}
		return nil
	})
}
