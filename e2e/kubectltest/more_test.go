package kubectltest

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func TestHelloJob(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Want(t, "job.batch/hello created", "apply", "-f", manifest("hello-job.yaml"))
	kit.Eventually(t, limit, "the job's pod runs", func() error {
		return kit.Matches(k.Must(t, "get", "pods", "-l", "job-name=hello"), `^hello-\w+ +1/1 +Running +0 `)
	})
	kit.Eventually(t, limit, "it says Hello", func() error {
		return kit.Matches(k.Must(t, "logs", "job/hello"), `^Hello, Kubernetes!$`)
	})
	kit.WantMatch(t, k.Must(t, "get", "jobs"), `^NAME +STATUS +COMPLETIONS +DURATION +AGE$`, `^hello +Running +0/1 +\d+s +\d+s$`)
	kit.WantMatch(t, k.Must(t, "describe", "job", "hello"), `^Completions: +1$`, `^Pods Statuses: +1 Active \(\d Ready\) / 0 Succeeded / 0 Failed$`, `Normal +SuccessfulCreate +`)
	k.Want(t, "job.batch/quick created", "create", "job", "quick", "--image=busybox", "--", "echo", "done")
	k.Want(t, "job.batch/quick condition met", "wait", "--for=condition=Complete", "job/quick", "--timeout=30s")
	k.Want(t, "done", "logs", "job/quick")
	kit.WantMatch(t, k.Must(t, "get", "job", "quick"), `^quick +Complete +1/1 +`)
	k.Must(t, "delete", "job", "quick")
	kit.Eventually(t, limit, "the pod goes with the job", func() error {
		if out := k.Must(t, "get", "pods", "-l", "job-name=quick", "-o", "name"); out != "" {
			return fmt.Errorf("there is %s", out)
		}
		return nil
	})
}

func TestPortForwardAndAttach(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "1")
	pod := k.Must(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
	kit.Eventually(t, limit, "the pod to listen", func() error { // kubectl ends when what it forwards is refused
		if r := k.Try("get", "--raw", "/api/v1/namespaces/"+k.Namespace+"/pods/"+pod+":8080/proxy/healthz"); r.Code != 0 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	c := lines(t, k, "port-forward", "deploy/web", ":8080")
	port := ""
	for line := range c {
		if m := regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+) -> 8080`).FindStringSubmatch(line); m != nil {
			port = m[1]
			break
		}
	}
	for range 3 {
		kit.Eventually(t, limit, "through the forwarded port", func() error {
			out, err := kit.Curl("", "http://127.0.0.1:"+port)
			if err == nil && !strings.Contains(out, "web-") {
				err = fmt.Errorf("%q", out)
			}
			return err
		})
	}
	r := k.In("hello\nquit\n").Try("run", "-i", "--rm", "--quiet", "--image=busybox", "--restart=Never", "typed", "--", "sh", "-c", "while read l; do echo got $l; [ $l = quit ] && exit 0; done")
	if r.Code != 0 {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, r.Out, `^got quit$`)
}

func TestNamespaceTakesAllWithIt(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "2")
	k.Must(t, "create", "cm", "x")
	k.Must(t, "create", "secret", "generic", "s", "--from-literal=a=b")
	k.Must(t, "create", "sa", "robot")
	k.Must(t, "expose", "deploy", "web", "--port=80")
	k.Want(t, `namespace "`+k.Namespace+`" deleted`, "delete", "ns", k.Namespace, "--timeout=60s")
	kit.WantMatch(t, k.Fail(t, "get", "ns", k.Namespace), `NotFound`)
	if out := k.Must(t, "get", "deploy,rs,pods,svc,cm,secret,sa,endpoints,endpointslices", "--ignore-not-found", "-o", "name"); out != "" {
		t.Errorf("left of the namespace: %s", out)
	}
}

func TestNodesLeasesAndCordon(t *testing.T) {
	// Not parallel: a node takes no pods for a while.
	l, k := space(t)
	k.In("apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: mine}\nspec: {holderIdentity: me, leaseDurationSeconds: 5}\n").Must(t, "apply", "-f", "-")
	kit.WantMatch(t, k.Must(t, "get", "leases"), `^NAME +HOLDER +AGE$`, `^mine +me +\d+s$`)
	k.Want(t, "node/client3 cordoned", "cordon", "client3")
	defer k.Must(t, "uncordon", "client3")
	kit.WantMatch(t, k.Must(t, "get", "node", "client3"), `^client3 +Ready,SchedulingDisabled `)
	web(t, l, k, "4")
	for _, p := range l.ReadyPods(t, k.Namespace, "app=web", 4, limit) {
		if p.Spec.NodeName == "client3" {
			t.Errorf("%s is on a cordoned node", p.Name)
		}
	}
	k.Must(t, "label", "node", "client3", "disk=fast")
	defer k.Must(t, "label", "node", "client3", "disk-")
	kit.WantMatch(t, k.Must(t, "get", "nodes", "-l", "disk=fast", "-L", "disk"), `^client3 .* fast$`)
}

// TestGraftedKubectl runs kubectl's commands as peapod's own, and reads HCL.
func TestGraftedKubectl(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	peapod := func(args ...string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, kit.Peapod(), append([]string{"--kubeconfig", l.Kubeconfig, "-n", k.Namespace}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("peapod %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	kit.WantMatch(t, peapod("apply", "-f", kit.Root()+"/jobspecs/examples/web.yaml"), `^deployment.apps/web-yaml created$`, `^service/web-yaml created$`)
	kit.WantMatch(t, peapod("rollout", "status", "deploy/web-yaml", "--timeout=30s"), `successfully rolled out`)
	kit.WantMatch(t, peapod("get", "pods", "-o", "wide"), `^web-yaml-\S+ +1/1 +Running `)
	kit.WantMatch(t, peapod("version"), `peapod|Peapod|v1`)
	kit.WantMatch(t, peapod("completion", "bash"), `peapod`)
}
