package apptest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// replicated is a ReplicaSet or ReplicationController of the embedded image.
func replicated(kind string, replicas int) string {
	version, selector := "apps/v1", "{matchLabels: {app: r}}"
	if kind == "ReplicationController" {
		version, selector = "v1", "{app: r}"
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: r}\nspec:\n  replicas: %d\n  selector: %s\n  template:\n    metadata: {labels: {app: r}}\n"+
		"    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: peapod/demo}]}\n", version, kind, replicas, selector)
}

// TestReplicasServe: AP043, AP045, AP047, AP049 and AP050: a pod of the right label is adopted instead of another being made, each pod
// serves for itself, and one that loses the label is let go and replaced.
func TestReplicasServe(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ReplicaSet", "ReplicationController"} {
		t.Run(kind, func(t *testing.T) {
			l, k := space(t)
			k.Must(t, "run", "orphan", "--image=peapod/demo", "--labels=app=r")
			k.In(replicated(kind, 3)).Must(t, "apply", "-f", "-")
			pods := l.ReadyPods(t, k.Namespace, "app=r", 3, limit)
			adopted := false
			for _, p := range pods {
				if w := metav1.GetControllerOf(&p); w == nil || w.Kind != kind || w.Name != "r" {
					t.Errorf("pod %s is of %+v", p.Name, w)
				}
				adopted = adopted || p.Name == "orphan"
				out := k.Must(t, "get", "--raw", "/api/v1/namespaces/"+k.Namespace+"/pods/"+p.Name+":8080/proxy/")
				if !strings.Contains(out, p.Name) {
					t.Errorf("pod %s answers %q", p.Name, out)
				}
			}
			if !adopted {
				t.Errorf("the orphan is not among the pods %v", values(t, k, "pods", names))
			}
			k.Must(t, "label", "pod", "orphan", "app=other", "--overwrite")
			l.ReadyPods(t, k.Namespace, "app=r", 3, limit)
			kit.Eventually(t, limit, "the pod is let go", func() error {
				return kit.Matches(k.Must(t, "get", "pod", "orphan", "-o", "jsonpath=owners:{.metadata.ownerReferences}"), `^owners:$`)
			})
		})
	}
}

// TestRollover: AP019 and AP020: an update is overtaken by the next one; its own pods go and those of the first go on until replaced.
func TestRollover(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.Must(t, "create", "deployment", "web", "--image=peapod/demo", "--replicas=3")
	l.ReadyPods(t, k.Namespace, "app=web", 3, limit)
	k.Must(t, "set", "image", "deploy/web", "*=registry.invalid/none:1")
	kit.Eventually(t, limit, "the update is under way", func() error {
		return kit.Matches(k.Must(t, "get", "deploy", "web", "-o", "jsonpath={.status.updatedReplicas} {.status.unavailableReplicas} {.status.availableReplicas}"), `^1 1 3$`)
	})
	k.Must(t, "set", "image", "deploy/web", "*=peapod/demo")
	k.Must(t, "set", "env", "deploy/web", "V=3")
	k.Must(t, "rollout", "status", "deploy/web", "--timeout=60s")
	l.ReadyPods(t, k.Namespace, "app=web", 3, limit)
	kit.Eventually(t, limit, "only the newest replica set has pods", func() error {
		got := values(t, k, "rs", `{.spec.template.spec.containers[0].image}/{.spec.template.spec.containers[0].env[0].value}={.status.replicas}`)
		if !slices.Equal(got, []string{"peapod/demo/3=3", "peapod/demo/=0", "registry.invalid/none:1/=0"}) {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
}

const jobHead = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: NAME}\nspec:\n"

// TestJobsThatFailAndSucceed: AP028, AP036, AP039 and AP040.
func TestJobsThatFailAndSucceed(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	job := func(name, spec, policy, script string) {
		t.Helper()
		k.In(strings.ReplaceAll(jobHead, "NAME", name)+"  "+strings.ReplaceAll(spec, "; ", "\n  ")+
			fmt.Sprintf("\n  template:\n    spec:\n      restartPolicy: %s\n      terminationGracePeriodSeconds: 0\n      volumes: [{name: v, emptyDir: {}}]\n"+
				"      containers: [{name: c, image: peapod/demo, command: [sh, -c, %q], volumeMounts: [{name: v, mountPath: /v}]}]\n", policy, script)).Must(t, "apply", "-f", "-")
	}
	ends := func(name, path, want string) {
		t.Helper()
		k.Must(t, "wait", "--for=condition=Complete", "job/"+name, "--timeout=60s")
		k.Want(t, want, "get", "job", name, "-o", "jsonpath="+path)
	}
	job("local", "completions: 3; parallelism: 2", "OnFailure", "test -e /v/tried || { touch /v/tried; exit 1; }")
	ends("local", "{.status.succeeded} {.status.failed}", "3 ")

	job("moved", "backoffLimit: 0; podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}", "Never", "until test -e /v/go; do sleep 0.1; done")
	p := l.ReadyPods(t, k.Namespace, "job-name=moved", 1, limit)[0]
	if err := l.Client(t, "").CoreV1().Pods(k.Namespace).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: k.Namespace}}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, limit, "another pod", func() error {
		if now := l.ReadyPods(t, k.Namespace, "job-name=moved", 1, limit)[0]; now.UID != p.UID {
			k.Must(t, "exec", now.Name, "--", "touch", "/v/go")
			return nil
		}
		return fmt.Errorf("%s is there", p.Name)
	})
	ends("moved", "{.status.succeeded} {.status.failed}", "1 ")

	indexed := "completions: 5; parallelism: 2; completionMode: Indexed; successPolicy: {rules: [{%s}]}"
	job("count", fmt.Sprintf(indexed, "succeededCount: 1"), "Never", "test $JOB_COMPLETION_INDEX = 0 || sleep 1000")
	ends("count", "{.status.succeeded} {.status.completedIndexes} {.status.conditions[?(@.type=='SuccessCriteriaMet')].reason}", "1 0 SuccessPolicy")
	job("indexes", fmt.Sprintf(indexed, "succeededIndexes: '0,1'"), "Never", "test $JOB_COMPLETION_INDEX -lt 2 || sleep 1000")
	ends("indexes", "{.status.completedIndexes} {.status.conditions[?(@.type=='SuccessCriteriaMet')].reason}", "0,1 SuccessPolicy")
	kit.Eventually(t, limit, "the pods of other indexes end", func() error {
		return kit.Matches(k.Must(t, "get", "pods", "-l", "job-name in (count, indexes)", "--field-selector=status.phase=Running", "-o", "name"), `^$`)
	})
}

// TestSuspendedCronJob: AP002: a start that is due, as an equal cron job shows, is left out.
func TestSuspendedCronJob(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	at := time.Now().Add(-2 * time.Hour).UTC()
	for name, suspend := range map[string]bool{"asleep": true, "awake": false} {
		k.In(fmt.Sprintf("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: %s}\nspec:\n  suspend: true\n  schedule: '%d %d * * *'\n  timeZone: Etc/UTC\n  jobTemplate: {spec: {template: {spec: "+
			"{restartPolicy: Never, containers: [{name: c, image: peapod/demo, command: ['true']}]}}}}\n", name, at.Minute(), at.Hour())).Must(t, "apply", "-f", "-")
		k.Must(t, "patch", "cj", name, "--subresource=status", "--type=merge", "-p", fmt.Sprintf(`{"status":{"lastScheduleTime":%q}}`, at.Add(-time.Hour).Format(time.RFC3339)))
		k.Must(t, "patch", "cj", name, "-p", fmt.Sprintf(`{"spec":{"suspend":%v}}`, suspend))
	}
	kit.Eventually(t, limit, "the other one's job", func() error {
		return kit.Matches(k.Must(t, "get", "jobs", "-o", "name"), `^job.batch/awake-\d+$`)
	})
	kit.Consistently(t, 2*time.Second, "no job", func() error {
		return kit.Matches(k.Must(t, "get", "jobs", "-o", "name"), `^job.batch/awake-\d+$`)
	})
}
