package api

import (
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"pgregory.net/rapid"
)

const goodCronJob = `
metadata: {name: night, namespace: default}
spec:
  schedule: "*/5 * * * *"
  jobTemplate:
    spec:
      backoffLimit: 1
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: nginx}]
`

func TestCronJobValidation(t *testing.T) {
	schedule := func(s string) []string { return []string{"*/5 * * * *", s} }
	zone := func(s string) []string { return []string{"spec:\n  sch", "spec:\n  timeZone: '" + s + "'\n  sch"} }
	const tz = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
	const job = "spec.jobTemplate.spec."
	runBad(t, "cronjobs.batch", goodCronJob, []badObject{
		{"no schedule", schedule(""), []string{"spec.schedule: Required value"}},
		{"schedule", schedule("1 2 3"), []string{`spec.schedule: Invalid value: "1 2 3": expected exactly 5 fields, found 3: [1 2 3]`}},
		{"minute", schedule("61 * * * *"), []string{`spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61`}},
		{"descriptor", schedule("@hourly"), nil},
		{"zone in the schedule", schedule("TZ=UTC 0 * * * *"), []string{`spec.schedule: Invalid value: "TZ=UTC 0 * * * *": ` + tz}},
		{"zone and no schedule", schedule("TZ=0"), []string{`spec.schedule: Invalid value: "TZ=0": expected a schedule after the time zone`, `spec.schedule: Invalid value: "TZ=0": ` + tz}},
		{"zone", zone("Europe/Berlin"), nil},
		{"zone with a number", zone("Etc/GMT+12"), nil},
		{"empty zone", zone(""), []string{`spec.timeZone: Invalid value: "": must be nil or non-empty string`}},
		{"own zone", zone("local"), []string{`spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones`, `spec.timeZone: Invalid value: "local"`}},
		{"unknown zone", zone("Mars/Olympus"), []string{`spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus`}},
		{"zone that is a path", zone("/etc/passwd"), []string{`spec.timeZone: Invalid value: "/etc/passwd": unknown time zone /etc/passwd`}},
		{"policy", []string{"spec:\n  sch", "spec:\n  concurrencyPolicy: Maybe\n  sch"}, []string{
			`spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"`,
		}},
		{"numbers", []string{"spec:\n  sch", "spec:\n  startingDeadlineSeconds: -1\n  successfulJobsHistoryLimit: -2\n  failedJobsHistoryLimit: -3\n  sch"}, []string{
			"spec.startingDeadlineSeconds: Invalid value: -1", "spec.successfulJobsHistoryLimit: Invalid value: -2", "spec.failedJobsHistoryLimit: Invalid value: -3",
		}},
		{"long name", []string{"name: night", "name: " + strings.Repeat("n", 53)}, []string{`metadata.name: Invalid value: "` + strings.Repeat("n", 53) + `": must be no more than 52 characters`}},
		{"selector", []string{"backoffLimit: 1", "selector: {matchLabels: {a: b}}\n      manualSelector: true"}, []string{
			job + "selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
			job + `manualSelector: Unsupported value: true: supported values: "nil", "false"`,
		}},
		{"job", []string{"backoffLimit: 1", "backoffLimit: -1", "restartPolicy: Never", "restartPolicy: Always", "image: nginx", "image: ''"}, []string{
			job + "backoffLimit: Invalid value: -1", job + `template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`,
			job + "template.spec.containers[0].image: Required value",
		}},
	})
	runUpdates(t, "cronjobs.batch", edit(t, goodCronJob, "*/5", "TZ=UTC */5", "night", strings.Repeat("n", 53)), []badObject{
		{"zoned for long", []string{"*/5", "*/6"}, nil},
		{"zoned twice", zone("UTC"), []string{`spec.schedule: Invalid value: "TZ=UTC */5 * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule`}},
	})
	runUpdates(t, "cronjobs.batch", edit(t, goodCronJob, zone("UTC")...), []badObject{
		{"other zone", []string{"UTC", "Nowhere"}, []string{"spec.timeZone: Invalid value"}},
	})
	// The database of zones may lose one that a cron job has.
	runUpdates(t, "cronjobs.batch", edit(t, goodCronJob, zone("Nowhere")...), []badObject{
		{"zone that was", []string{"*/5", "*/6"}, nil},
	})
}

// A schedule is what a user writes; whatever it is, it is read or refused.
func TestSchedulesAreReadOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.SampledFrom([]string{"TZ=", "CRON_TZ=", "UTC", " ", "*", "/", "-", ",", "0", "9", "@", "every", "5s", "MON"})).Draw(t, "parts")
		s, err := ParseSchedule(strings.Join(text, ""))
		if (s == nil) == (err == nil) {
			t.Fatalf("%q: %v, %v", text, s, err)
		}
	})
}

func TestCronJobWarnings(t *testing.T) {
	k := kindNamed(t, "cronjobs.batch")
	got := k.Warnings(load(t, "cronjobs.batch", edit(t, goodCronJob, "name: night", "name: n.n", "*/5", "TZ=UTC */5",
		"backoffLimit: 1", "completionMode: Indexed\n      completions: 100001\n      parallelism: 10001")), nil)
	if len(got) != 3 || !strings.HasPrefix(got[1], "spec.jobTemplate.spec: In Indexed Jobs") || !strings.HasPrefix(got[2], "CRON_TZ or TZ used in spec.schedule") {
		t.Errorf("warnings %q", got)
	}
	if got := k.Warnings(load(t, "cronjobs.batch", goodCronJob), nil); len(got) > 0 {
		t.Errorf("warnings %q", got)
	}
}

func TestJobPoliciesValidation(t *testing.T) {
	in := func(text string) []string { return []string{"backoffLimit: 1", text} }
	indexed := func(text string) []string { return in("completionMode: Indexed\n      completions: 10\n      " + text) }
	many := func(text string) []string {
		return in("completionMode: Indexed\n      completions: 100001\n      backoffLimitPerIndex: 1\n      " + text)
	}
	const s = "spec.jobTemplate.spec."
	const rule = s + "podFailurePolicy.rules[0]"
	const success = s + "successPolicy.rules"
	runBad(t, "cronjobs.batch", goodCronJob, []badObject{
		{"index limits of no index", in("backoffLimitPerIndex: 1\n      maxFailedIndexes: 1\n      successPolicy: {rules: []}"), []string{
			s + "backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode", s + "maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
			s + `successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode`,
		}},
		{"failed indexes", indexed("maxFailedIndexes: 11"), []string{
			s + "backoffLimitPerIndex: Required value: when maxFailedIndexes is specified", s + "maxFailedIndexes: Invalid value: 11: must be less than or equal to completions",
		}},
		{"parallelism", indexed("parallelism: 100001"), []string{s + "parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"}},
		{"many", many("parallelism: 10001"), []string{
			s + "maxFailedIndexes: Required value: must be specified when completions is above 100000",
			s + "parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
		}},
		{"many failed", many("maxFailedIndexes: 100001"), []string{
			s + "maxFailedIndexes: Invalid value: 100001: must be less than or equal to 100000",
			s + "maxFailedIndexes: Invalid value: 100001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
		}},
		{"mode", in("completionMode: Random"), []string{s + `completionMode: Unsupported value: "Random": supported values: "Indexed", "NonIndexed"`}},
		{"failure policy", in("podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [1, 2]}}, {action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}"), nil},
		{"empty rule", in("podFailurePolicy: {rules: [{}]}"), []string{
			rule + `.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]`, rule + ": Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
		}},
		{"fail index", in("podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, values: [1]}}]}"), []string{
			rule + `.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set`,
		}},
		{"exit codes", in("podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, containerName: x, values: [3, 0, 3]}}]}"), []string{
			rule + `.onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template`,
			rule + ".onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator", rule + ".onExitCodes.values[2]: Duplicate value: 3",
			rule + ".onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
		}},
		{"no exit codes", in("podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {values: []}}]}"), []string{
			rule + `.onExitCodes.operator: Required value: valid values: ["In" "NotIn"]`, rule + ".onExitCodes.values: Invalid value: []: at least one value is required",
		}},
		{"conditions", in("podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [1]}, onPodConditions: [{type: '', status: Maybe}]}]}"), []string{
			rule + ".onPodConditions[0].type: Invalid value: \"\": name part must be non-empty", rule + ".onPodConditions[0].type: Invalid value: \"\": name part must consist of",
			rule + `.onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"`,
			rule + ": Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
		}},
		{"many rules", in("podFailurePolicy: {rules: [" + strings.Repeat("{action: Ignore, onPodConditions: [{type: a}]},", 21) + "]}"), []string{
			s + "podFailurePolicy.rules: Too many: 21: must have at most 20 items",
		}},
		{"failure policy and restarts", append(in("podFailurePolicy: {rules: []}"), "restartPolicy: Never", "restartPolicy: OnFailure"), []string{
			s + `template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified`,
		}},
		{"success policy", indexed("successPolicy: {rules: [{succeededIndexes: '0,2-4', succeededCount: 4}]}"), nil},
		{"no success rules", indexed("successPolicy: {rules: []}"), []string{success + ": Required value: at least one rules must be specified when the successPolicy is specified"}},
		{"empty success rule", indexed("successPolicy: {rules: [{}]}"), []string{success + "[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"}},
		{"success count", indexed("successPolicy: {rules: [{succeededCount: 11, succeededIndexes: '1,2'}]}"), []string{
			success + "[0].succeededCount: Invalid value: 11: must be less than or equal to 10 (the number of specified completions)",
			success + "[0].succeededCount: Invalid value: 11: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
		}},
	})
	for text, want := range map[string]string{
		"":      "0 <nil>",
		"1":     "1 <nil>",
		"1,3-5": "4 <nil>",
		"3,1":   "0 non-increasing order, previous: 3, current: 1",
		"3-3":   "0 non-increasing order, previous: 3, current: 3",
		"9-10":  `0 too large index: "10"`,
		"1-2-3": `0 the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'`,
		"1,,2":  `0 cannot convert string to integer for index: ""`,
	} {
		n, err := countIndexes(text, 10)
		if got := fmt.Sprint(n, " ", err); got != want {
			t.Errorf("indexes %q: %s, want %s", text, got, want)
		}
	}
}

func TestJobsDropAlphaFields(t *testing.T) {
	job := load(t, "jobs.batch", edit(t, goodJob, "spec:", "spec:\n  scheduling: {}"))
	cron := load(t, "cronjobs.batch", edit(t, goodCronJob, "backoffLimit: 1", "scheduling: {}"))
	again, cronAgain := job.DeepCopyObject(), cron.DeepCopyObject()
	kindNamed(t, "jobs.batch").PrepareForCreate(job)
	kindNamed(t, "jobs.batch").PrepareForUpdate(again, job)
	kindNamed(t, "cronjobs.batch").PrepareForCreate(cron)
	kindNamed(t, "cronjobs.batch").PrepareForUpdate(cronAgain, cron)
	for _, s := range []*batchv1.JobSpec{&job.(*batchv1.Job).Spec, &again.(*batchv1.Job).Spec,
		&cron.(*batchv1.CronJob).Spec.JobTemplate.Spec, &cronAgain.(*batchv1.CronJob).Spec.JobTemplate.Spec} {
		if s.Scheduling != nil {
			t.Error("a job kept its scheduling")
		}
	}
}
