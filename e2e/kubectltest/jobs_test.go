package kubectltest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// job is one whose only container runs a script; spec are more fields of it, in a line of YAML.
func job(name, spec, script string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s}\nspec:\n  %s\n  template:\n    spec:\n      restartPolicy: Never\n      terminationGracePeriodSeconds: 1\n"+
		"      containers:\n      - {name: c, image: peapod/demo, command: [sh, -c, %q]}\n", name, strings.ReplaceAll(spec, "; ", "\n  "), script)
}

// TestIndexedJob: AP031, and with it that every index knows its own.
func TestIndexedJob(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(job("idx", "completions: 3; parallelism: 2; completionMode: Indexed", "echo index $JOB_COMPLETION_INDEX is $(hostname)")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Complete", "job/idx", "--timeout=30s")
	k.Want(t, "0-2 3 idx-0 idx-1 idx-2", "get", "jobs,pods", "--sort-by=.metadata.name", "-o", "jsonpath={.items[*].status.completedIndexes} {.items[*].status.succeeded} {.items[*].spec.hostname}")
	kit.WantMatch(t, k.Must(t, "logs", "-l", "batch.kubernetes.io/job-completion-index=1,job-name=idx"), `^index 1 is idx-1$`)
	kit.WantMatch(t, k.Must(t, "describe", "job", "idx"), `^Completed Indexes: +0-2$`, `Normal +Completed .* Job completed$`)
	k.Want(t, "", "get", "pods", "-o", "jsonpath={.items[*].metadata.finalizers}")
}

// TestJobLimits: AP029, AP033, AP035, AP037 and AP038: how failures of some indexes end a job, or do not.
func TestJobLimits(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	perIndex := "completions: 3; parallelism: 3; completionMode: Indexed; backoffLimitPerIndex: 0"
	onExit := "podFailurePolicy: {rules: [{action: %s, onExitCodes: {operator: In, values: [42]}}]}"
	for _, c := range []struct{ name, spec, script, end, want string }{
		{"rule", fmt.Sprintf(onExit, "FailJob"), "exit 42", "Failed", `PodFailurePolicy Container c for pod \S+ failed with exit code 42 matching FailJob rule at index 0`},
		{"each", perIndex, "test $JOB_COMPLETION_INDEX != 1", "Failed", `FailedIndexes Job has failed indexes 0,2 1$`},
		{"first", strings.Replace(perIndex, "Index: 0", "Index: 5", 1) + "; " + fmt.Sprintf(onExit, "FailIndex"), "test $JOB_COMPLETION_INDEX != 1 || exit 42", "Failed", `FailedIndexes Job has failed indexes 0,2 1$`},
		{"most", perIndex + "; maxFailedIndexes: 0", "test $JOB_COMPLETION_INDEX = 1 && exit 1; sleep 1000", "Failed", `MaxFailedIndexesExceeded .* 1$`},
		{"enough", strings.Split(perIndex, "; backoff")[0] + "; successPolicy: {rules: [{succeededIndexes: '0'}]}", "test $JOB_COMPLETION_INDEX = 0 || sleep 1000", "Complete", `SuccessPolicy Matched rules at index 0 0`},
	} {
		k.In(job(c.name, c.spec, c.script)).Must(t, "apply", "-f", "-")
		k.Must(t, "wait", "--for=condition="+c.end, "job/"+c.name, "--timeout=30s")
		out := k.Must(t, "get", "job", c.name, "-o", "jsonpath={.status.conditions[-1].reason} {.status.conditions[-1].message} {.status.completedIndexes} {.status.failedIndexes}")
		kit.WantMatch(t, strings.Join(strings.Fields(out), " "), c.want)
	}
}

// TestJobChangesHands: AP027, AP032 and AP034: pods leave a job and come back, a job is suspended, and goes with its pods.
func TestJobChangesHands(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.In(job("a", "parallelism: 2; completions: 2", "sleep 1000")).Must(t, "apply", "-f", "-")
	owners := func(what, want string) {
		t.Helper()
		kit.Eventually(t, limit, what, func() error {
			return kit.Matches(k.Must(t, "get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.ownerReferences[0].kind}/{.metadata.finalizers[0]} {end}`), want)
		})
	}
	owners("two pods run", `^(Job/batch.kubernetes.io/job-tracking ?){2}$`)
	name := strings.Fields(k.Must(t, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	k.Must(t, "patch", "pod", name, "--type=json", "-p", `[{"op":"remove","path":"/metadata/ownerReferences"}]`)
	owners("the orphan is adopted", `^(Job/batch.kubernetes.io/job-tracking ?){2}$`)
	k.Must(t, "label", "pod", name, "batch.kubernetes.io/controller-uid-", "--overwrite")
	owners("a pod of another label is released, and replaced", `^(Job/\S+ ){0,2}/ ?(Job/\S+ ?){0,2}$`)
	k.Must(t, "patch", "job", "a", "-p", `{"spec":{"suspend":true}}`)
	kit.Eventually(t, limit, "the job is suspended", func() error {
		return kit.Matches(k.Must(t, "get", "job", "a", "-o", "jsonpath={.status.conditions[*].type} {.status.active} {.status.failed}"), `^Suspended\s*$`)
	})
	k.Must(t, "patch", "job", "a", "-p", `{"spec":{"suspend":false}}`)
	k.Must(t, "wait", "--for=jsonpath={.status.active}=2", "job/a", "--timeout=30s")
	k.Must(t, "delete", "job", "a", "--cascade=foreground", "--timeout=30s")
	k.Want(t, "pod/"+name, "get", "pods", "-o", "name")
}

// ago is a schedule of once a day, at the time that it was some hours ago in Tokyo.
func ago(hours int) string {
	at := time.Now().Add(-time.Duration(hours) * time.Hour).In(time.FixedZone("Tokyo", 9*60*60))
	return fmt.Sprintf("%d %d * * *", at.Minute(), at.Hour())
}

const cronJob = `apiVersion: batch/v1
kind: CronJob
metadata: {name: %s}
spec:
  schedule: %q
  timeZone: Asia/Tokyo
  concurrencyPolicy: %s
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, terminationGracePeriodSeconds: 1, containers: [{name: c, image: peapod/demo, command: [sh, -c, sleep 1000]}]}
`

// TestCronJob: AP003 to AP005. Nobody waits for the clock: a start that was missed is made up for, and so is a second one by another schedule.
func TestCronJob(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	active := func(name string, fewest int) (uids []string) {
		t.Helper()
		kit.Eventually(t, limit, name+" runs", func() error {
			if uids = strings.Fields(k.Must(t, "get", "cj", name, "-o", "jsonpath={.status.active[*].uid}")); len(uids) < fewest {
				return fmt.Errorf("%d jobs run", len(uids))
			}
			return nil
		})
		return uids
	}
	for _, c := range []struct {
		policy, event  string
		running, first int // after the second start: how many, and of them begun by the first
	}{
		{"Allow", `Normal +SuccessfulCreate .* Created job allow-\d+$`, 2, 1},
		{"Forbid", `Normal +JobAlreadyActive .* Not starting job because prior execution is running and concurrency policy is Forbid$`, 1, 1},
		{"Replace", `Normal +SuccessfulDelete .* Deleted job replace-\d+$`, 1, 0},
	} {
		name := strings.ToLower(c.policy)
		k.In(fmt.Sprintf(cronJob, name, ago(2), c.policy)).Must(t, "apply", "-f", "-")
		k.Must(t, "patch", "cj", name, "--subresource=status", "--type=merge", "-p", fmt.Sprintf(`{"status":{"lastScheduleTime":%q}}`, time.Now().Add(-3*time.Hour).UTC().Format(time.RFC3339)))
		first := active(name, 1)
		k.Must(t, "patch", "cj", name, "-p", fmt.Sprintf(`{"spec":{"schedule":%q}}`, ago(1)))
		kit.Eventually(t, limit, name+" is asked to begin again", func() error { return kit.Matches(k.Must(t, "describe", "cj", name), c.event) })
		second := active(name, c.running)
		if len(second) != c.running || slices.Contains(second, first[0]) != (c.first == 1) {
			t.Errorf("%s: first %v, then %v", c.policy, first, second)
		}
	}
	kit.WantMatch(t, k.Must(t, "get", "jobs", "-o", `jsonpath={.items[0].metadata.annotations.batch\.kubernetes\.io/cronjob-scheduled-timestamp}`), `\+09:00$`)
	kit.WantMatch(t, k.Must(t, "get", "cj", "allow"), `^allow +\d+ \d+ \* \* \* +Asia/Tokyo +False +2 +`)
	k.Must(t, "delete", "cj", "--all", "--timeout=30s")
	kit.Eventually(t, limit, "the jobs go with their cron jobs", func() error {
		return kit.Matches(k.Must(t, "get", "jobs", "-o", "name"), `^$`)
	})
}
