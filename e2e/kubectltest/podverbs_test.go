package kubectltest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func TestRunForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kit.WantMatch(t, k.Must(t, "run", "dry", "--image=peapod/demo", "--dry-run=client", "-o", "yaml"), `^kind: Pod$`, `^    run: dry$`)
	kit.WantMatch(t, k.Must(t, "run", "front", "--image=peapod/demo", "--expose", "--port=8080", "--labels=app=front,tier=x", "--env=A=b"), `^service/front created$`, `^pod/front created$`)
	kit.WantMatch(t, k.Must(t, "get", "svc", "front", "-o", "wide"), `^front +ClusterIP +10\.\S+ +<none> +8080/TCP +\S+ +app=front,tier=x$`)
	// The end of what is typed is the end of the input, and so of the container.
	r := k.In("typed\n").Try("run", "typed", "-i", "--rm", "--image=peapod/demo", "--restart=Never", "--command", "--", "cat")
	if r.Code != 0 {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, r.Out, `^typed$`, `^pod "typed" deleted from `+k.Namespace+` namespace$`)
	r = k.In("go\n").Try("run", "fails", "--rm", "-i", "--image=peapod/demo", "--restart=Never", "--command", "--", "sh", "-c", "read l; echo words; exit 5")
	if r.Code != 5 {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, r.Out, `^words$`)
	kit.WantMatch(t, r.Err, `^pod `+k.Namespace+`/fails terminated \(Error\)$`)
	kit.WantMatch(t, k.Fail(t, "run", "front", "--image=peapod/demo"), `^Error from server \(AlreadyExists\): pods "front" already exists$`)
}

func TestLogForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(`apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}, annotations: {kubectl.kubernetes.io/default-container: b}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers: [{name: first, image: peapod/demo, command: [echo, from first]}]
  containers:
  - {name: a, image: peapod/demo, command: [sh, -c, "echo from a; sleep 1000"]}
  - {name: b, image: peapod/demo, command: [sh, -c, "echo from b; sleep 1000"]}
`).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/two", "--timeout=30s")
	kit.Eventually(t, limit, "all logs", func() error {
		return kit.Matches(k.Must(t, "logs", "two", "--all-containers", "--prefix"), `\A\[pod/two/first\] from first\n\[pod/two/a\] from a\n\[pod/two/b\] from b\n\z`)
	})
	k.Want(t, "from b", "logs", "two")
	kit.WantMatch(t, k.Must(t, "logs", "-l", "app=two", "-c", "a", "--prefix", "--timestamps", "--since=1h"), `^\[pod/two/a\] \d{4}-\S+Z from a$`)
	k.Want(t, "", "logs", "two", "--since-time=2100-01-01T00:00:00Z")
	k.Want(t, "", "logs", "two", "--tail=0")
	c := lines(t, k, "logs", "-f", "-l", "app=two", "--all-containers", "--max-log-requests=3")
	awaitLine(t, c, "from")
	kit.WantMatch(t, k.Fail(t, "logs", "-f", "-l", "app=two", "--all-containers", "--max-log-requests=2"), `^error: you are attempting to follow 3 log streams, but maximum allowed concurrency is 2`)
	kit.WantMatch(t, k.Fail(t, "logs", "deploy/none"), `deployments.apps "none" not found`)
	k.Want(t, "b", "exec", "two", "--", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' ' | grep -o 'from b' | cut -d' ' -f2")
	kit.WantMatch(t, k.Fail(t, "exec", "two", "-c", "none", "--", "true"), `container none is not valid for pod two out of: a, b, first \(init\)`)
}

func TestAttach(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In("apiVersion: v1\nkind: Pod\nmetadata: {name: reader}\nspec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 0\n"+
		"  containers: [{name: c, image: peapod/demo, stdin: true, command: [sh, -c, 'while read l; do echo got $l; done']}]\n").Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/reader", "--timeout=30s")
	out := lines(t, k, "attach", "reader", "--pod-running-timeout=5s")
	// It reads until nobody can write; that whoever attaches leaves is no end. So the line comes by another client, and both see it.
	in := lines(t, k.In("word\n"), "attach", "reader", "-i")
	awaitLine(t, in, "got word")
	kit.Eventually(t, limit, "the log", func() error { return kit.Matches(k.Must(t, "logs", "reader"), `^got word$`) })
	k.Must(t, "delete", "pod", "reader", "--now")
	for range out { // it ends with the container
	}
	kit.WantMatch(t, k.Fail(t, "attach", "none"), `^Error from server \(NotFound\): pods "none" not found$`)
}

func TestCopyForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "box", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never", "--", "sleep", "1000")
	dir := files(t, map[string]string{"x": "one", "y": "two"})
	k.Must(t, "wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
	k.Must(t, "cp", dir, "box:/tmp/tree", "-c", "box")
	k.Want(t, "onetwo", "exec", "box", "--", "sh", "-c", "cat /tmp/tree/x /tmp/tree/y")
	back := filepath.Join(t.TempDir(), "back")
	k.Must(t, "cp", k.Namespace+"/box:/tmp/tree", back)
	for name, want := range map[string]string{"x": "one", "y": "two"} {
		if got, err := os.ReadFile(filepath.Join(back, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	kit.WantMatch(t, k.Fail(t, "cp", filepath.Join(dir, "x"), "none:/tmp/x"), `pods "none" not found`)
}

func TestDebug(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "web", "--image=peapod/demo", "--labels=app=web")
	k.Must(t, "wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
	k.Must(t, "debug", "web", "--copy-to=copy", "--share-processes", "--image=peapod/demo", "-c", "dbg", "--", "sh", "-c", "echo here; sleep 1000")
	k.Want(t, "true web dbg ", "get", "pod", "copy", "-o", "jsonpath={.spec.shareProcessNamespace} {.spec.containers[*].name} {.metadata.labels}")
	k.Must(t, "wait", "--for=condition=Ready", "pod/copy", "--timeout=30s")
	kit.Eventually(t, limit, "what it says", func() error { return kit.Matches(k.Must(t, "logs", "copy", "-c", "dbg"), `^here$`) })
	k.Must(t, "debug", "web", "--copy-to=other", "--same-node", "--set-image=*=peapod/demo:latest")
	node := k.Must(t, "get", "pod", "web", "-o", "jsonpath={.spec.nodeName}")
	k.Want(t, node+" peapod/demo:latest", "get", "pod", "other", "-o", "jsonpath={.spec.nodeName} {.spec.containers[0].image}")
	kit.WantMatch(t, k.Must(t, "debug", "node/client1", "--image=peapod/demo", "--", "cat", "/host/etc/hostname"), `^Creating debugging pod node-debugger-client1-\w{5} with container debugger on node client1\.$`)
	host, err := os.ReadFile("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, limit, "the node's file", func() error {
		r := k.Try("logs", "-l", "app.kubernetes.io/managed-by=kubectl-debug")
		if strings.TrimSpace(r.Out) != strings.TrimSpace(string(host)) {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	k.Want(t, "client1 true true true", "get", "pod", "-l", "app.kubernetes.io/managed-by=kubectl-debug", "-o",
		"jsonpath={.items[0].spec.nodeName} {.items[0].spec.hostNetwork} {.items[0].spec.hostPID} {.items[0].spec.hostIPC}")
	// The container is asked for; that nodes start it is not tested here.
	k.Must(t, "debug", "web", "--image=peapod/demo", "-c", "late", "--target=web", "--", "sleep", "1000")
	k.Want(t, "late web", "get", "pod", "web", "-o", "jsonpath={.spec.ephemeralContainers[0].name} {.spec.ephemeralContainers[0].targetContainerName}")
	kit.WantMatch(t, k.Fail(t, "debug", "web", "--image=peapod/demo", "-c", "late", "--", "true"), `spec.ephemeralContainers`)
}

func TestProxyAndForward(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "web", "--image=peapod/demo", "--port=8080", "--expose")
	k.Must(t, "wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
	address := func(c <-chan string, expression string) string {
		for line := range c {
			if m := regexp.MustCompile(expression).FindStringSubmatch(line); m != nil {
				return m[1]
			}
		}
		t.Fatalf("no line like %s", expression)
		return ""
	}
	url := "http://" + address(lines(t, k, "proxy", "--port=0"), `^Starting to serve on (127\.0\.0\.1:\d+)$`)
	for path, want := range map[string]string{
		"/api/v1/namespaces/" + k.Namespace + "/pods/web": `"kind": "Pod"`, "/version": `"major": "1"`,
		"/api/v1/namespaces/" + k.Namespace + "/pods/web/exec": `^Forbidden$`, // the proxy's own rule
	} {
		out, err := kit.Curl("", url+path)
		if err != nil || kit.Matches(out, want) != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
	forward := lines(t, k, "port-forward", "svc/web", ":8080")
	url = "http://" + address(forward, `^Forwarding from (127\.0\.0\.1:\d+) -> 8080$`)
	kit.Eventually(t, limit, "the service", func() error {
		out, err := kit.Curl("", url)
		if err != nil {
			return err
		}
		return kit.Matches(out, `^pod +web$`)
	})
	awaitLine(t, forward, "Handling connection for ")
	kit.WantMatch(t, k.Fail(t, "port-forward", "svc/none", ":80"), `^Error from server \(NotFound\): services "none" not found$`)
	kit.WantMatch(t, k.Fail(t, "port-forward", "svc/web", ":81"), `^error: Service web does not have a service port 81$`)
}

func TestEventsCommand(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	if r := k.Try("events"); r.Code != 0 || r.Err != "No events found in "+k.Namespace+" namespace.\n" {
		t.Errorf("%+v", r)
	}
	c := lines(t, k, "events", "-w")
	k.Must(t, "run", "good", "--image=peapod/demo")
	awaitLine(t, c, "Container started")
	k.Must(t, "run", "lost", "--image=peapod/demo", `--overrides={"spec":{"nodeSelector":{"nowhere":"yes"}}}`)
	awaitLine(t, c, "FailedScheduling")
	kit.WantMatch(t, k.Must(t, "events", "--for=pod/good"), `^\S+ +Normal +Scheduled +Pod/good +Successfully assigned `+k.Namespace+`/good to client\d$`, `Normal +Started +Pod/good +Container started$`)
	if out := k.Must(t, "events", "--for=pod/good", "--no-headers"); strings.Contains(out, "lost") {
		t.Errorf("the events of one pod: %s", out)
	}
	warnings := k.Must(t, "events", "--types=Warning", "--no-headers")
	kit.WantMatch(t, warnings, `^\S+( \(x.*\))? +Warning +FailedScheduling +Pod/lost +0/3 nodes are available: `)
	if strings.Contains(warnings, "Normal") {
		t.Errorf("warnings: %s", warnings)
	}
	kit.WantMatch(t, k.Must(t, "events", "-A"), `^NAMESPACE +LAST SEEN +TYPE +REASON +OBJECT +MESSAGE$`, `^`+k.Namespace+` +\S+ +Normal +Scheduled +Pod/good `)
	kit.WantMatch(t, k.Must(t, "events", "--for=pod/lost", "-o", "yaml"), `^  reason: FailedScheduling$`)
	k.Want(t, "Warning", "get", "events", "--field-selector=reason=FailedScheduling,involvedObject.name=lost", "-o", "jsonpath={.items[0].type}")
	kit.WantMatch(t, k.Fail(t, "events", "--types=Bad"), `^error: valid --types are Normal or Warning$`)
}

func TestWaitForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	created := lines(t, k, "wait", "--for=create", "pod/late", "--timeout=30s")
	k.Must(t, "run", "one", "--image=peapod/demo", "--labels=app=x")
	k.Must(t, "run", "late", "--image=peapod/demo", "--labels=app=x")
	awaitLine(t, created, "pod/late condition met")
	k.Want(t, "pod/late condition met\npod/one condition met", "wait", "--for=condition=Ready", "pod", "-l", "app=x", "--timeout=30s")
	k.Want(t, "pod/one condition met", "wait", "--for=jsonpath={.status.podIP}", "pod/one", "--timeout=5s")
	k.Want(t, "pod/one condition met", "wait", `--for=jsonpath={.status.conditions[?(@.type=="Ready")].status}=True`, "pod/one", "--timeout=5s")
	k.Want(t, "pod/one condition met\npod/late condition met", "wait", "--for=condition=Ready=true", "pod/one", "pod/late", "--timeout=5s")
	kit.WantMatch(t, k.Fail(t, "wait", "--for=condition=Ready=False", "pod/one", "--timeout=1s"), `^error: timed out waiting for the condition on pods/one$`)
	kit.WantMatch(t, k.Fail(t, "wait", "--for=condition=Ready", "pod/none", "--timeout=1s"), `^Error from server \(NotFound\): pods "none" not found$`)
	kit.WantMatch(t, k.Fail(t, "wait", "--for=condition=Ready", "pod", "-l", "app=none", "--timeout=1s"), `^error: no matching resources found$`)
	k.Want(t, "", "wait", "--for=delete", "pod/none", "--timeout=1s")
	k.Must(t, "delete", "pod", "-l", "app=x", "--wait=false", "--grace-period=2")
	k.Must(t, "wait", "--for=delete", "pod", "-l", "app=x", "--timeout=30s")
	k.Want(t, "", "get", "pods", "-l", "app=x", "-o", "name")
}
