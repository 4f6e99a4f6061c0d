package kubectltest

import (
	"bufio"
	"context"
	"encoding/json"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// web makes a deployment of the embedded image and waits until it runs.
func web(t *testing.T, l *kit.Lab, k kit.Kubectl, replicas string) {
	t.Helper()
	k.Want(t, "deployment.apps/web created", "create", "deployment", "web", "--image=peapod/demo", "--port=8080", "--replicas="+replicas)
	k.Must(t, "rollout", "status", "deployment/web", "--timeout=30s")
}

func TestGet(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	if r := k.Try("get", "pods"); r.Code != 0 || r.Err != "No resources found in "+k.Namespace+" namespace.\n" {
		t.Errorf("no pods: %+v", r)
	}
	web(t, l, k, "2")
	kit.WantMatch(t, k.Must(t, "get", "deployments"), `^NAME +READY +UP-TO-DATE +AVAILABLE +AGE$`, `^web +2/2 +2 +2 +\d+s$`)
	kit.WantMatch(t, k.Must(t, "get", "rs"), `^NAME +DESIRED +CURRENT +READY +AGE$`, `^web-\w+ +2 +2 +2 +\d+s$`)
	kit.WantMatch(t, k.Must(t, "get", "pods", "-l", "app=web", "--show-labels"),
		`^NAME +READY +STATUS +RESTARTS +AGE +LABELS$`, `^web-\w+-\w{5} +1/1 +Running +0 +\d+s +app=web,pod-template-hash=\w+$`)
	if out := k.Must(t, "get", "pods", "-l", "app!=web"); out != "" {
		t.Errorf("the selector app!=web finds %q", out)
	}
	kit.WantMatch(t, k.Must(t, "get", "pods", "-A"), `^NAMESPACE +NAME +READY +STATUS +RESTARTS +AGE$`, `^`+k.Namespace+` +web-`)
	kit.WantMatch(t, k.Must(t, "get", "deploy", "web", "-o", "yaml"), `^apiVersion: apps/v1$`, `^kind: Deployment$`, `^  replicas: 2$`, `^  readyReplicas: 2$`)
	var d appsv1.Deployment
	if err := json.Unmarshal([]byte(k.Must(t, "get", "deploy", "web", "-o", "json")), &d); err != nil || d.Kind != "Deployment" || *d.Spec.Replicas != 2 {
		t.Errorf("as JSON: %v %+v", err, d)
	}
	k.Want(t, "web 2", "get", "deploy", "web", "-o", "jsonpath={.metadata.name} {.status.readyReplicas}")
	k.Want(t, "2", "get", "deploy", "web", "-o", "go-template={{.spec.replicas}}")
	k.Want(t, "deployment.apps/web", "get", "deploy", "-o", "name")
	kit.WantMatch(t, k.Must(t, "get", "pods", "-o", "custom-columns=N:.metadata.name,P:.status.phase"), `^N +P$`, `^web-\S+ +Running$`)
	kit.WantMatch(t, k.Must(t, "get", "pods", "--sort-by=.metadata.name", "--no-headers"), `\Aweb-`)
	kit.WantMatch(t, k.Must(t, "get", "pods", "--field-selector=status.phase=Running"), `^web-`)
	kit.WantMatch(t, k.Must(t, "get", "all"), `^pod/web-`, `^deployment.apps/web `, `^replicaset.apps/web-`)
	kit.WantMatch(t, k.Must(t, "get", "nodes", "-o", "wide"),
		`^NAME +STATUS +ROLES +AGE +VERSION +INTERNAL-IP +EXTERNAL-IP +OS-IMAGE +KERNEL-VERSION +CONTAINER-RUNTIME$`,
		`^client1 +Ready +\S+ +\S+ +v\S+ +10\.201\.`, `^client2 +Ready`, `^client3 +Ready`)
	kit.WantMatch(t, k.Must(t, "get", "leases", "-n", "kube-node-lease"), `^NAME +HOLDER +AGE$`, `^client1 +client1 +\S+$`, `^client3 +client3 +`)
	kit.WantMatch(t, k.Must(t, "get", "lease", "client2", "-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}"), `\A\d{4}-\d\d-\d\dT\S+\.\d{6}Z\z`)
	kit.WantMatch(t, k.Must(t, "get", "ns", k.Namespace), `^NAME +STATUS +AGE$`, `^\S+ +Active +\d+s$`)
	kit.WantMatch(t, k.Must(t, "get", "cm,sa"), `^serviceaccount/default `)
	kit.WantMatch(t, k.Fail(t, "get", "nothing"), `^error: the server doesn't have a resource type "nothing"$`)
}

// lines runs a command that goes on and returns its lines as they come.
func lines(t *testing.T, k kit.Kubectl, args ...string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	t.Cleanup(cancel)
	cmd := k.Command(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := make(chan string, 10000)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(out); s.Scan(); {
			c <- s.Text()
		}
		_ = cmd.Wait() // it is killed when the test ends
	}()
	return c
}

// awaitLine reads until a line contains text.
func awaitLine(t *testing.T, c <-chan string, text string) {
	t.Helper()
	var seen []string
	for line := range c {
		seen = append(seen, line)
		if strings.Contains(line, text) {
			return
		}
	}
	t.Fatalf("the output ended without %q:\n%s", text, strings.Join(seen, "\n"))
}

func TestGetWatch(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "1")
	c := lines(t, k, "get", "deploy", "web", "-w")
	awaitLine(t, c, "NAME")
	awaitLine(t, c, "1/1")
	k.Must(t, "scale", "deploy/web", "--replicas=3")
	awaitLine(t, c, "1/3")
	awaitLine(t, c, "3/3")
	k.Must(t, "scale", "--current-replicas=3", "--replicas=0", "deploy/web")
	awaitLine(t, c, "0/0")
	kit.WantMatch(t, k.Fail(t, "scale", "--current-replicas=3", "--replicas=1", "deploy/web"), `Expected replicas to be 3, was 0`)
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	web(t, l, k, "2")
	k.Want(t, "service/web exposed", "expose", "deployment", "web", "--port=80", "--target-port=8080")
	pod := l.ReadyPods(t, k.Namespace, "app=web", 2, limit)[0]
	kit.Eventually(t, limit, "the pod's events", func() error {
		out := k.Must(t, "describe", "pod", pod.Name)
		for _, e := range []string{`^Name: +` + pod.Name + `$`, `^Node: +` + pod.Spec.NodeName + `/10\.201\.`, `^Status: +Running$`, `^IP: +` + pod.Status.PodIP + `$`,
			`^Controlled By: +ReplicaSet/web-`, `^ +Image: +peapod/demo$`, `^ +State: +Running$`, `^ +Ready: +True$`, `^QoS Class: +BestEffort$`, `^Events:$`,
			`Normal +Scheduled +\S+ +\S+ +Successfully assigned `, `Normal +Started +\S+( \(.*\))? +\S+ +`} {
			if err := kit.Matches(out, e); err != nil {
				return err
			}
		}
		return nil
	})
	kit.WantMatch(t, k.Must(t, "describe", "deployment", "web"), `^Replicas: +2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable$`,
		`^StrategyType: +RollingUpdate$`, `^RollingUpdateStrategy: +25% max unavailable, 25% max surge$`, `^  Available +True +MinimumReplicasAvailable$`,
		`^  Progressing +True +NewReplicaSetAvailable$`, `Normal +ScalingReplicaSet +\S+ +deployment-controller +Scaled up replica set web-\w+ from 0 to 2`)
	kit.Eventually(t, limit, "the service's endpoints", func() error {
		out := k.Must(t, "describe", "service", "web")
		return kit.Matches(out, `^Endpoints: +`+`10\.42\.\d+\.\d+:8080,10\.42\.\d+\.\d+:8080$`)
	})
	kit.WantMatch(t, k.Must(t, "describe", "node", pod.Spec.NodeName), `^Name: +client`, `^Conditions:$`, `Ready +True`, `^Capacity:$`, `^Allocatable:$`,
		`^Non-terminated Pods:`, pod.Name, `^PodCIDR: +10\.42\.`)
	kit.WantMatch(t, k.Must(t, "describe", "ns", k.Namespace), `^Status: +Active$`)
	kit.WantMatch(t, k.Must(t, "get", "events"), `^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE$`, `Normal +SuccessfulCreate +replicaset/web-\w+ +Created pod: web-`)
	kit.WantMatch(t, k.Must(t, "events"), `^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE$`)
	kit.WantMatch(t, k.Must(t, "get", "endpoints", "web"), `^web +10\.42\.\d+\.\d+:8080,10\.42\.\d+\.\d+:8080 +`)
	kit.WantMatch(t, k.Must(t, "get", "endpointslices"), `^NAME +ADDRESSTYPE +PORTS +ENDPOINTS +AGE$`, `^web-\w+ +IPv4 +8080 +10\.42\.`)
	kit.WantMatch(t, k.Must(t, "get", "svc", "-o", "wide"), `^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE +SELECTOR$`, `^web +ClusterIP +10\.\S+ +<none> +80/TCP +\d+s +app=web$`)
}

func TestExplainAndResources(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kit.WantMatch(t, k.Must(t, "explain", "deployment.spec.strategy"), `^GROUP: +apps$`, `^KIND: +Deployment$`, `^VERSION: +v1$`, `^FIELD: strategy`, `rollingUpdate\s+<RollingUpdateDeployment>`)
	kit.WantMatch(t, k.Must(t, "explain", "pods", "--recursive"), `^KIND: +Pod$`, `terminationGracePeriodSeconds\s+<integer>`)
	kit.WantMatch(t, k.Fail(t, "explain", "pod.spec.nothing"), `field "nothing" does not exist`)
	kit.WantMatch(t, k.Must(t, "api-resources"), `^NAME +SHORTNAMES +APIVERSION +NAMESPACED +KIND$`, `^pods +po +v1 +true +Pod$`,
		`^deployments +deploy +apps/v1 +true +Deployment$`, `^services +svc +v1 +true +Service$`, `^nodes +no +v1 +false +Node$`,
		`^endpointslices +discovery.k8s.io/v1 +true +EndpointSlice$`, `^leases +coordination.k8s.io/v1 +true +Lease$`)
	kit.WantMatch(t, k.Must(t, "api-versions"), `^apps/v1$`, `^v1$`)
	kit.WantMatch(t, k.Must(t, "version"), `^Client Version: v`, `^Server Version: v`)
	kit.WantMatch(t, k.Must(t, "cluster-info"), `is running at`)
	kit.WantMatch(t, k.Must(t, "config", "view"), `certificate-authority-data: DATA\+OMITTED`)
}
