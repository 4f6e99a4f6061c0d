package podtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// ND026, ND027: ephemeral containers join a running pod, one after the other, and end without it.
func TestEphemeralContainers(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "web", "--image=peapod/demo")
	ready(t, k, "web")
	k.Must(t, "debug", "web", "--image=peapod/demo", "-c", "one", "--", "sh", "-c", "wget -qO- http://127.0.0.1:8080/healthz; sleep 1000")
	k.Must(t, "debug", "web", "--image=peapod/demo", "-c", "two", "--", "sh", "-c", "hostname; exit 3")
	awaitField(t, k, "web", ".status.ephemeralContainerStatuses[?(@.name=='one')].state.running.startedAt", `\d`)
	awaitField(t, k, "web", ".status.ephemeralContainerStatuses[?(@.name=='two')].state.terminated.exitCode", `^3$`)
	kit.Eventually(t, limit, "their logs", func() error {
		if err := kit.Matches(k.Try("logs", "web", "-c", "one").Out, `^ok\n`); err != nil {
			return err
		}
		return kit.Matches(k.Try("logs", "web", "-c", "two").Out, `^web\n`)
	})
	k.Want(t, "in one\n", "exec", "web", "-c", "one", "--", "echo", "in one")
	kit.WantMatch(t, k.Must(t, "get", "pod", "web"), `web +1/1 +Running +0 `)
	// One that names a target sees its processes.
	k.Must(t, "debug", "web", "--image=peapod/demo", "-c", "three", "--target=web", "--", "sh", "-c", "ps; sleep 1000")
	kit.Eventually(t, limit, "the processes of the target", func() error {
		return kit.Matches(k.Try("logs", "web", "-c", "three").Out, `demo`)
	})
	k.Must(t, "delete", "pod", "web", "--grace-period=1")
}

// A container's own policy and rules (KEP-5307), and the restart of all containers (KEP-5532).
func TestRestartRules(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  restartPolicy: Never
  containers:
  - {name: again, image: peapod/demo, restartPolicy: OnFailure, command: [sh, -c, "[ -e /v/been ] && exit 0; touch /v/been; exit 1"], volumeMounts: [{name: v, mountPath: /v}]}
  - {name: once, image: peapod/demo, command: [sh, -c, exit 0]}
  volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: all}
spec:
  restartPolicy: Never
  initContainers:
  - {name: prepare, image: peapod/demo, command: [sh, -c, "echo begun >> /v/begun"], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - name: boss
    image: peapod/demo
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [77]}}]
    command: [sh, -c, "[ $(wc -l < /v/begun) -ge 2 ] && sleep 1000; sleep 1; exit 77"]
    volumeMounts: [{name: v, mountPath: /v}]
  - {name: other, image: peapod/demo, command: [sh, -c, sleep 1000]}
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
`)
	awaitField(t, k, "own", ".status.phase", `^Succeeded$`)
	awaitField(t, k, "own", ".status.containerStatuses[?(@.name=='again')].restartCount", `^1$`)
	awaitField(t, k, "own", ".status.containerStatuses[?(@.name=='once')].restartCount", `^0$`)
	awaitField(t, k, "all", ".status.containerStatuses[*].restartCount", `^1 1$`)
	awaitField(t, k, "all", ".status.initContainerStatuses[*].restartCount", `^1$`)
	ready(t, k, "all")
}

// ND067 to ND076: every kind of probe, at ease and failing.
func TestProbes(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kinds := map[string]string{
		"exec": "exec: {command: [wget, -qO-, \"http://127.0.0.1:8080/healthz\"]}",
		"http": "httpGet: {path: /healthz, port: web, httpHeaders: [{name: X-Probe, value: \"1\"}]}",
		"grpc": "grpc: {port: 8080}",
	}
	for kind, handler := range kinds {
		apply(t, k, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: peapod/demo
    ports: [{name: web, containerPort: 8080}]
    livenessProbe: {%s, periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 60}
    readinessProbe: {%s, periodSeconds: 1, timeoutSeconds: 60}
`, kind, handler, handler))
	}
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: tcp}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: good, image: peapod/demo, livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 60}}
  - {name: bad, image: peapod/demo, args: [-p, "8081"], livenessProbe: {tcpSocket: {port: 9999}, periodSeconds: 1, failureThreshold: 2}}
---
apiVersion: v1
kind: Pod
metadata: {name: never}
spec:
  containers:
  - name: c
    image: peapod/demo
    readinessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: startup}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: peapod/demo
    command: [sh, -c, "sleep 3; touch /tmp/up; sleep 1000"]
    startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 60, timeoutSeconds: 60}
    livenessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 60}
`)
	ready(t, k, "exec", "http", "grpc", "startup")
	for kind := range kinds {
		k.Must(t, "exec", kind, "--", "wget", "-qO-", "http://127.0.0.1:8080/fail?code=500")
	}
	for kind := range kinds {
		awaitField(t, k, kind, ".status.containerStatuses[0].restartCount", `^1$`)
		ready(t, k, kind) // the new container has forgotten that it was to fail
		kit.Eventually(t, limit, "the events of "+kind, func() error {
			out := k.Must(t, "get", "events", "--field-selector=involvedObject.name="+kind)
			if err := kit.Matches(out, `Warning +Unhealthy +pod/`+kind+` +Liveness probe failed: `); err != nil {
				return err
			}
			return kit.Matches(out, `Normal +Killing +pod/`+kind+` +Container c failed liveness probe, will be restarted`)
		})
	}
	awaitField(t, k, "tcp", ".status.containerStatuses[?(@.name=='bad')].restartCount", `^[1-9]`)
	awaitField(t, k, "tcp", ".status.containerStatuses[?(@.name=='good')].restartCount", `^0$`)
	kit.WantMatch(t, k.Must(t, "get", "pods", "never", "startup"), `never +0/1 +Running +0 `, `startup +1/1 +Running +0 `)
	k.Must(t, "delete", "pods", "--all", "--grace-period=1")
}

// ND007 to ND010, ND066: hooks of all kinds; one that fails after the start ends its container.
func TestHooks(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "ear", "--image=peapod/demo")
	ready(t, k, "ear")
	ip := k.Must(t, "get", "pod", "ear", "-o", "jsonpath={.status.podIP}")
	apply(t, k, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  restartPolicy: Never
  containers:
  - name: exec
    image: peapod/demo
    command: [sh, -c, "until [ -e /v/poststart ]; do sleep 0.1; done; echo started; trap 'exit 0' TERM; while true; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [touch, /v/poststart]}}
      preStop: {httpGet: {host: %s, port: 8080, path: "/write?text=from-prestop"}}
    volumeMounts: [{name: v, mountPath: /v}]
  - name: http
    image: peapod/demo
    lifecycle:
      postStart: {httpGet: {host: %s, port: 8080, path: "/write?text=from-poststart"}}
      preStop: {sleep: {seconds: 1}}
  - name: tcp
    image: peapod/demo
    args: [-p, "8081"]
    lifecycle: {postStart: {tcpSocket: {host: %s, port: 8080}}}
  volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: peapod/demo, lifecycle: {postStart: {exec: {command: [sh, -c, "exit 9"]}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: overrun}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: peapod/demo, command: [sh, -c, "trap 'exit 0' TERM; while true; do sleep 0.1; done"], lifecycle: {preStop: {exec: {command: [sleep, "600"]}}}}
`, ip, ip, ip))
	ready(t, k, "good", "overrun")
	k.Must(t, "delete", "pod", "good", "overrun", "--timeout=60s")
	kit.Eventually(t, limit, "what the hooks said", func() error {
		out := k.Must(t, "logs", "ear")
		if err := kit.Matches(out, `from-poststart`); err != nil {
			return err
		}
		return kit.Matches(out, `from-prestop`)
	})
	awaitField(t, k, "bad", ".status.containerStatuses[0].restartCount", `^[1-9]`)
	kit.Eventually(t, limit, "the event", func() error {
		return kit.Matches(k.Must(t, "get", "events", "--field-selector=involvedObject.name=bad"), `Warning +FailedPostStartHook `)
	})
}

// ND011 to ND014: what a container says at its end.
func TestTerminationMessages(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	rows := []struct{ name, script, more, want string }{
		{"empty", "echo in the log; exit 0", "terminationMessagePolicy: FallbackToLogsOnError", ""},
		{"file", "echo -n DONE > /dev/termination-log; exit 0", "terminationMessagePolicy: FallbackToLogsOnError", "DONE"},
		{"log", "echo in the log; exit 1", "terminationMessagePolicy: FallbackToLogsOnError", "in the log\n"},
		{"custom", "echo -n mine > /dev/custom; exit 0", "terminationMessagePath: /dev/custom, securityContext: {runAsUser: 1000}", "mine"},
		{"plain", "echo in the log; exit 1", "terminationMessagePolicy: File", ""},
	}
	for _, r := range rows {
		apply(t, k, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  containers: [{name: c, image: peapod/demo, command: [sh, -c, %q], %s}]
`, r.name, r.script, r.more))
	}
	for _, r := range rows {
		awaitField(t, k, r.name, ".status.phase", `Succeeded|Failed`)
		if got := k.Must(t, "get", "pod", r.name, "-o", "jsonpath={.status.containerStatuses[0].state.terminated.message}"); got != r.want {
			t.Errorf("%s: the message is %q, want %q", r.name, got, r.want)
		}
	}
}

// ND029 to ND032, and sidecars: they start in order before the others and end after them.
func TestInitContainersAndSidecars(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: order}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: peapod/demo, command: [sh, -c, "echo first >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
  - name: side
    image: peapod/demo
    restartPolicy: Always
    command: [sh, -c, "trap 'echo side ends >> /v/log; cat /v/log; exit 0' TERM; echo side >> /v/log; touch /v/up; while true; do sleep 0.1; done"]
    startupProbe: {exec: {command: [test, -e, /v/up]}, periodSeconds: 1}
    volumeMounts: [{name: v, mountPath: /v}]
  - {name: third, image: peapod/demo, command: [sh, -c, "echo third >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - {name: main, image: peapod/demo, command: [sh, -c, "echo main >> /v/log; sleep 1; echo main ends >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: fails}
spec:
  restartPolicy: Never
  initContainers: [{name: i, image: peapod/demo, command: ["false"]}]
  containers: [{name: c, image: peapod/demo}]
---
apiVersion: v1
kind: Pod
metadata: {name: retries}
spec:
  initContainers: [{name: i, image: peapod/demo, command: ["false"]}]
  containers: [{name: c, image: peapod/demo}]
`)
	awaitField(t, k, "order", ".status.phase", `^Succeeded$`)
	want := "first\nside\nthird\nmain\nmain ends\nside ends\n"
	if got := k.Must(t, "logs", "order", "-c", "side"); got != want {
		t.Errorf("the order was\n%s", got)
	}
	awaitField(t, k, "fails", ".status.phase", `^Failed$`)
	kit.WantMatch(t, k.Must(t, "get", "pod", "fails"), `fails +0/1 +Init:Error +0 `)
	awaitField(t, k, "retries", ".status.initContainerStatuses[0].restartCount", `^[1-9]`)
	kit.WantMatch(t, k.Must(t, "get", "pod", "retries"), `retries +0/1 +Init:(CrashLoopBackOff|Error) `)
	awaitField(t, k, "retries", ".status.containerStatuses[0].state.waiting.reason", `^PodInitializing$`)
}

// ND052 to ND054, ND056: generations converge over many updates, and a deadline can be set on a running pod.
func TestGenerationsAndDeadline(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "web", "--image=peapod/demo", "--grace-period=1")
	ready(t, k, "web")
	awaitField(t, k, "web", ".metadata.generation", `^1$`)
	for i := range 20 {
		k.Must(t, "patch", "pod", "web", "-p", fmt.Sprintf(`{"spec":{"tolerations":[%s]}}`, tolerations(i)))
	}
	k.Must(t, "label", "pod", "web", "a=b")
	generation := k.Must(t, "get", "pod", "web", "-o", "jsonpath={.metadata.generation}")
	if generation != "21" {
		t.Errorf("after 20 changes of the spec and one label the generation is %s", generation)
	}
	awaitField(t, k, "web", ".status.observedGeneration", "^"+generation+"$")
	k.Must(t, "patch", "pod", "web", "-p", `{"spec":{"activeDeadlineSeconds":1}}`)
	awaitField(t, k, "web", ".status.reason", `^DeadlineExceeded$`)
	awaitField(t, k, "web", ".status.phase", `^Failed$`)
}

func tolerations(n int) string {
	var list []string
	for i := range n + 1 {
		list = append(list, fmt.Sprintf(`{"key":"k%d","operator":"Exists"}`, i))
	}
	return strings.Join(list, ",")
}
