package kubectltest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func asPod(o runtime.Object) (*corev1.Pod, bool) {
	p, ok := o.(*corev1.Pod)
	return p, ok
}

func TestGracefulTermination(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	const script = `trap 'echo got TERM; sleep 1; echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done`
	box(t, k, "polite", script)
	box(t, k, "deaf", `trap '' TERM; echo ready; while :; do sleep 0.1; done`)
	k.Must(t, "wait", "--for=condition=Ready", "pod/polite", "pod/deaf", "--timeout=30s")
	c := lines(t, k, "logs", "-f", "polite")
	awaitLine(t, c, "ready")
	k.Must(t, "delete", "pod", "polite", "--wait=false")
	awaitLine(t, c, "got TERM")
	kit.WantMatch(t, k.Must(t, "get", "pod", "polite"), `^polite +1/1 +Terminating `)
	awaitLine(t, c, "bye")
	k.Must(t, "wait", "--for=delete", "pod/polite", "--timeout=20s")

	began := time.Now()
	k.Want(t, `pod "deaf" deleted from `+k.Namespace+` namespace`, "delete", "pod", "deaf", "--grace-period=2")
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("a deaf pod was gone after %v, its grace is 2 s", took)
	}
	box(t, k, "forced", `trap '' TERM; while :; do sleep 0.1; done`)
	k.Must(t, "wait", "--for=condition=Ready", "pod/forced", "--timeout=30s")
	r := k.Try("delete", "pod", "forced", "--grace-period=0", "--force")
	if r.Code != 0 || r.Out != `pod "forced" force deleted from `+k.Namespace+" namespace\n" {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, r.Err, `^Warning: Immediate deletion does not wait for confirmation`)
	kit.WantMatch(t, k.Fail(t, "get", "pod", "forced"), `NotFound`)
}

func TestRestartBackOff(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "crash", "--image=busybox", "--image-pull-policy=IfNotPresent", "--", "sh", "-c", "echo try; exit 4")
	box(t, k, "once", "exit 0")
	k.Must(t, "run", "onfailure", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=OnFailure", "--", "sh", "-c", "exit 0")
	kit.Eventually(t, limit, "the back-off", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "crash"), `^crash +0/1 +CrashLoopBackOff +[1-9]`)
	})
	kit.Eventually(t, limit, "the others end", func() error {
		out := k.Must(t, "get", "pods")
		if err := kit.Matches(out, `^once +0/1 +Completed +0 `); err != nil {
			return err
		}
		return kit.Matches(out, `^onfailure +0/1 +Completed +0 `)
	})
	k.Want(t, "try", "logs", "crash", "--previous")
	kit.WantMatch(t, k.Must(t, "describe", "pod", "crash"), `Reason: +CrashLoopBackOff`, `Last State: +Terminated`, `Exit Code: +4`)
	kit.Eventually(t, limit, "the event, which is written after the status", func() error {
		return kit.Matches(k.Must(t, "describe", "pod", "crash"), `Warning +BackOff +`)
	})
}

func TestVolumesAndEnvironment(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(configMap).Must(t, "apply", "-f", "-")
	k.In(`apiVersion: v1
kind: Pod
metadata: {name: two, labels: {tier: x}}
spec:
  restartPolicy: Never
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory}}
  - {name: cm, configMap: {name: settings}}
  containers:
  - name: writer
    image: busybox
    command: [sh, -c, "echo from writer >/data/f; sleep 1000"]
    volumeMounts: [{name: shared, mountPath: /data}]
  - name: reader
    image: busybox
    args: [sh, -c, "until cat /data/f; do sleep 0.1; done; sleep 1000"]
    env:
    - {name: PLAIN, value: "a$(MY_NAME)"}
    - {name: MY_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: AFTER, value: "$(MY_NAME)-$(PLAIN)"}
    - {name: MY_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    envFrom: [{configMapRef: {name: settings}, prefix: CM_}]
    volumeMounts: [{name: shared, mountPath: /data, readOnly: true}, {name: mem, mountPath: /mem}, {name: cm, mountPath: /etc/cm}]
`).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/two", "--timeout=30s")
	k.Want(t, "from writer", "exec", "two", "-c", "reader", "--", "cat", "/data/f")
	kit.WantMatch(t, k.Try("exec", "two", "-c", "reader", "--", "touch", "/data/g").Err, `Read-only file system`)
	kit.WantMatch(t, k.Must(t, "exec", "two", "-c", "reader", "--", "env"),
		`^MY_NAME=two$`, `^AFTER=two-a\$\(MY_NAME\)$`, `^MY_IP=10\.42\.`, `^CM_color=blue$`, `^KUBERNETES_SERVICE_HOST=10\.`, `^HOSTNAME=two$`)
	k.Want(t, "blue", "exec", "two", "-c", "reader", "--", "cat", "/etc/cm/color")
	kit.WantMatch(t, k.Must(t, "exec", "two", "-c", "reader", "--", "cat", "/proc/mounts"), `^tmpfs /mem tmpfs`)
	kit.WantMatch(t, k.Fail(t, "logs", "two", "-c", "x"), `container x is not valid for pod two`)
	k.Want(t, "from writer", "logs", "two", "-c", "reader", "--tail=1")
	k.Must(t, "delete", "pod", "two", "--grace-period=1")
}

func TestResourceLimits(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	pod := func(name, script string) string {
		return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: busybox
    command: [sh, -c, %q]
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 250m, memory: 24Mi}}
---
`, name, script)
	}
	k.In(pod("limited", "sleep 1000")+pod("hungry", `x=0123456789; while :; do x=$x$x; done`)).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/limited", "--timeout=30s")
	parts := strings.Fields(k.Must(t, "get", "pod", "limited", "-o", "jsonpath={.metadata.uid} {.spec.nodeName} {.status.qosClass}"))
	if parts[2] != "Burstable" {
		t.Errorf("QoS class %s", parts[2])
	}
	wantCgroup(t, l.Node(t, parts[1]), parts[0], map[string]string{
		"memory.limit_in_bytes|memory.max": `^25165824$`,
		"cpu.cfs_quota_us|cpu.max":         `^25000( 100000)?$`,
		"cpu.shares|cpu.weight":            `^(102|4|5|1[0-9]|2[0-9])$`,
	})
	kit.Eventually(t, limit, "the hungry pod is killed", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "hungry"), `^hungry +0/1 +OOMKilled +0 `)
	})
	k.Want(t, "137", "get", "pod", "hungry", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}")
	k.Must(t, "run", "vast", "--image=busybox", `--overrides={"spec":{"containers":[{"name":"vast","image":"busybox","resources":{"requests":{"cpu":"1000"}}}]}}`)
	kit.Eventually(t, limit, "the reason why it is pending", func() error {
		return kit.Matches(k.Must(t, "describe", "pod", "vast"), `Warning +FailedScheduling +.*0/3 nodes are available: .*3 Insufficient cpu`)
	})
	kit.WantMatch(t, k.Must(t, "get", "pod", "vast"), `^vast +0/1 +Pending +0 `)
}

func TestImageNotFound(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "none", "--image=busybox:none")
	k.Must(t, "run", "never", "--image=busybox:never", "--image-pull-policy=Never")
	k.In("apiVersion: v1\nkind: Pod\nmetadata: {name: odd}\nspec: {containers: [{name: odd, image: 'UPPER//case'}]}\n").Must(t, "apply", "-f", "-")
	kit.Eventually(t, limit, "the reasons", func() error {
		out := k.Must(t, "get", "pods")
		for _, e := range []string{`^none +0/1 +(ErrImagePull|ImagePullBackOff) `, `^never +0/1 +ErrImageNeverPull `, `^odd +0/1 +InvalidImageName `} {
			if err := kit.Matches(out, e); err != nil {
				return err
			}
		}
		return nil
	})
	kit.Eventually(t, limit, "the event", func() error {
		return kit.Matches(k.Must(t, "describe", "pod", "none"), `Warning +Failed +.*Failed to pull image "busybox:none": .*not found`)
	})
	kit.WantMatch(t, k.Must(t, "get", "pod", "never", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}"), `busybox:never`)
	kit.WantMatch(t, k.Fail(t, "logs", "none"), `container "none" in pod "none" is waiting to start: (ErrImagePull|ImagePullBackOff|image can't be pulled|trying and failing to pull image)`)
}

func TestInitContainersAndProbes(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(`apiVersion: v1
kind: Pod
metadata: {name: steps}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - {name: first, image: busybox, command: [sh, -c, "sleep 1; echo prepared >/v/x"], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "cat /v/x; sleep 1000"]
    volumeMounts: [{name: v, mountPath: /v}]
    readinessProbe: {exec: {command: [test, -e, /v/ready]}, periodSeconds: 1, timeoutSeconds: 60}
    livenessProbe: {exec: {command: [test, -e, /v/x]}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 60}
`).Must(t, "apply", "-f", "-")
	kit.Eventually(t, limit, "it runs", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "steps"), `^steps +0/1 +Running +0 `)
	})
	k.Want(t, "prepared", "logs", "steps", "-c", "main")
	k.Must(t, "exec", "steps", "--", "touch", "/v/ready")
	k.Must(t, "wait", "--for=condition=Ready", "pod/steps", "--timeout=20s")
	k.Must(t, "exec", "steps", "-c", "main", "--", "rm", "/v/x")
	kit.Eventually(t, limit, "the liveness probe restarts it", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "steps"), `^steps +\d/1 +\S+ +[1-9]`)
	})
}
