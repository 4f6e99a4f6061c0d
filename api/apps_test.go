package api

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
)

const goodStatefulSet = `
metadata: {name: db, namespace: default}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: main, image: db, volumeMounts: [{name: data, mountPath: /data}]}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], volumeMode: Filesystem, resources: {requests: {storage: 1Gi}}}
`

func TestStatefulSetValidation(t *testing.T) {
	const unmatched = "spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does not match template `labels`"
	strategy := func(text string) []string { return []string{"replicas: 2", "replicas: 2\n  updateStrategy: " + text} }
	runBad(t, "statefulsets.apps", goodStatefulSet, []badObject{
		{"replicas", []string{"replicas: 2", "replicas: -1\n  minReadySeconds: -2\n  ordinals: {start: -3}"}, []string{
			"spec.replicas: Invalid value: -1: must be greater than or equal to 0", "spec.minReadySeconds: Invalid value: -2", "spec.ordinals.start: Invalid value: -3",
		}},
		{"negative history", []string{"replicas: 2", "revisionHistoryLimit: -1"}, nil},
		{"service name", []string{"serviceName: db", "serviceName: db.x"}, []string{`spec.serviceName: Invalid value: "db.x": must not contain dots`}},
		{"no service name", []string{"serviceName: db", ""}, nil},
		{"no selector", []string{"  selector: {matchLabels: {app: db}}\n", ""}, []string{"spec.selector: Required value", unmatched}},
		{"empty selector", []string{"{matchLabels: {app: db}}", "{}"}, []string{"spec.selector: Invalid value: {}: empty selector is invalid for statefulset"}},
		{"labels do not match", []string{"{matchLabels: {app: db}}", "{matchLabels: {app: x}}"}, []string{unmatched}},
		{"selector's form", []string{"{matchLabels: {app: db}}", "{matchExpressions: [{key: a, operator: Is}]}"}, []string{
			`spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`,
		}},
		{"management", []string{"replicas: 2", "podManagementPolicy: Chaos"}, []string{`spec.podManagementPolicy: Invalid value: "Chaos": must be 'OrderedReady' or 'Parallel'`}},
		{"retention", []string{"replicas: 2", "persistentVolumeClaimRetentionPolicy: {whenDeleted: Keep, whenScaled: Sell}"}, []string{
			`spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Keep"`, `spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Sell"`,
		}},
		{"recreate is alpha", strategy("{type: Recreate}"), []string{`spec.updateStrategy: Invalid value: {"type":"Recreate"}: must be 'RollingUpdate' or 'OnDelete'`}},
		{"on delete", strategy("{type: OnDelete}"), nil},
		{"rolling without parameters", strategy("{type: RollingUpdate}"), nil},
		{"on delete with rolling", strategy("{type: OnDelete, rollingUpdate: {partition: 1}}"), []string{
			`spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy 'RollingUpdate'`,
		}},
		{"rolling", strategy("{rollingUpdate: {partition: -1, maxUnavailable: 0}}"), []string{
			"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
			"spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
		}},
		{"more than all", strategy("{rollingUpdate: {maxUnavailable: 101%}}"), []string{
			`spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`,
		}},
		{"mount of no claim", []string{"metadata: {name: data}", "metadata: {name: other}"}, []string{
			`spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"`,
		}},
		{"claim's name", []string{"metadata: {name: data}", "metadata: {name: Data}"}, []string{
			`spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"`,
			`spec.template.spec.volumes[0].name: Invalid value: "Data"`,
		}},
		{"claim before volume", []string{"      containers", "      volumes: [{name: data, emptyDir: {}, hostPath: {path: /x}}]\n      containers"}, nil},
		{"restart policy", []string{"      containers", "      restartPolicy: Never\n      activeDeadlineSeconds: 3\n      containers"}, []string{
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`,
			"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
		}},
		{"fault in the pod", []string{"image: db", "image: ''"}, []string{"spec.template.spec.containers[0].image: Required value"}},
	})
	const fixed = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', " +
		"'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
	runUpdates(t, "statefulsets.apps", goodStatefulSet, []badObject{
		{"what may change", []string{"image: db", "image: db:2", "replicas: 2", "replicas: 3\n  minReadySeconds: 1\n  revisionHistoryLimit: 2\n" +
			"  ordinals: {start: 1}\n  updateStrategy: {type: OnDelete}\n  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}"}, nil},
		{"service", []string{"serviceName: db", "serviceName: other"}, []string{fixed}},
		{"claims", []string{"1Gi", "2Gi"}, []string{fixed}},
		{"management", []string{"replicas: 2", "podManagementPolicy: Parallel"}, []string{fixed}},
		{"selector", []string{"{app: db}}", "{app: new}}", "labels: {app: db}", "labels: {app: new}"}, []string{fixed}},
	})
	if kindNamed(t, "statefulsets.apps").ValidateName("a.b", false) == nil {
		t.Error("a name with a dot was accepted")
	}
}

func TestStatefulSetComesBackWithTheTypesOfItsClaims(t *testing.T) {
	set := load(t, "statefulsets.apps", goodStatefulSet)
	b, err := Encode(set)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(appsv1.Resource("statefulsets"), b)
	if err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(set, got) {
		t.Errorf("sent %v\ngot  %v", set, got)
	}
	sameFaults(t, kindNamed(t, "statefulsets.apps").ValidateUpdate(set, got))
}

func TestStatefulSetWarnings(t *testing.T) {
	got := kindNamed(t, "statefulsets.apps").Warnings(load(t, "statefulsets.apps", edit(t, goodStatefulSet, "replicas: 2", "revisionHistoryLimit: -1")), nil)
	if len(got) != 1 || !strings.HasPrefix(got[0], "spec.revisionHistoryLimit: a negative value retains") {
		t.Errorf("warnings %q", got)
	}
}

const goodDaemonSet = `
metadata: {name: log, namespace: default}
spec:
  selector: {matchLabels: {app: log}}
  template:
    metadata: {labels: {app: log}}
    spec:
      containers: [{name: main, image: log}]
`

func TestDaemonSetValidation(t *testing.T) {
	rolling := func(text string) []string {
		return []string{"spec:\n", "spec:\n  updateStrategy: {rollingUpdate: " + text + "}\n"}
	}
	const at = "spec.updateStrategy.rollingUpdate."
	runBad(t, "daemonsets.apps", goodDaemonSet, []badObject{
		{"no selector", []string{"  selector: {matchLabels: {app: log}}\n", ""}, []string{"spec.template.metadata.labels: Invalid value"}},
		{"empty selector", []string{"{matchLabels: {app: log}}", "{}"}, []string{"spec.selector: Invalid value: {}: empty selector is invalid for daemonset"}},
		{"labels do not match", []string{"{matchLabels: {app: log}}", "{matchLabels: {app: x}}"}, []string{"spec.template.metadata.labels: Invalid value"}},
		{"numbers", []string{"spec:\n", "spec:\n  minReadySeconds: -1\n  revisionHistoryLimit: -2\n"}, []string{
			"spec.minReadySeconds: Invalid value: -1", "spec.revisionHistoryLimit: Invalid value: -2",
		}},
		{"strategy", []string{"spec:\n", "spec:\n  updateStrategy: {type: Never}\n"}, []string{
			`spec.updateStrategy: Unsupported value: {"type":"Never"}: supported values: "RollingUpdate", "OnDelete"`,
		}},
		{"on delete", []string{"spec:\n", "spec:\n  updateStrategy: {type: OnDelete}\n"}, nil},
		{"both ways", rolling("{maxSurge: 1}"), []string{at + "maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"}},
		{"no way", rolling("{maxUnavailable: 0}"), []string{at + "maxUnavailable: Required value: cannot be 0 when maxSurge is 0"}},
		{"surge alone", rolling("{maxUnavailable: 0, maxSurge: 10%}"), nil},
		{"more than all", rolling("{maxUnavailable: 0, maxSurge: 110%}"), []string{at + `maxSurge: Invalid value: "110%": must not be greater than 100%`}},
		{"negative", rolling("{maxUnavailable: -1}"), []string{at + "maxUnavailable: Invalid value: -1: must be greater than or equal to 0"}},
		{"not a number", rolling("{maxUnavailable: some}"), []string{
			at + `maxUnavailable: Invalid value: "some": a valid percent string must be`, at + "maxUnavailable: Required value",
		}},
		{"restart policy", []string{"      containers", "      restartPolicy: OnFailure\n      activeDeadlineSeconds: 3\n      containers"}, []string{
			`spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always"`,
			"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
		}},
		{"number of the template", []string{"{name: log,", "{name: log, annotations: {deprecated.daemonset.template.generation: one},"}, []string{
			`metadata.annotations[deprecated.daemonset.template.generation]: Invalid value: "one": strconv.ParseInt: parsing "one": invalid syntax`,
		}},
	})
	runUpdates(t, "daemonsets.apps", goodDaemonSet, []badObject{
		{"image", []string{"image: log", "image: log:2"}, nil},
		{"selector", []string{"{app: log}}", "{app: new}}", "labels: {app: log}", "labels: {app: new}"}, []string{
			`spec.selector: Invalid value: {"matchLabels":{"app":"new"}}: field is immutable`,
		}},
	})
}

func TestDaemonSetNumbersItsTemplates(t *testing.T) {
	k := kindNamed(t, "daemonsets.apps")
	number := func(o runtime.Object) string {
		return o.(*appsv1.DaemonSet).Annotations["deprecated.daemonset.template.generation"]
	}
	first := load(t, "daemonsets.apps", goodDaemonSet)
	k.PrepareForCreate(first)
	same := load(t, "daemonsets.apps", edit(t, goodDaemonSet, "{name: log,", "{name: log, annotations: {deprecated.daemonset.template.generation: '7'},"))
	k.PrepareForUpdate(same, first)
	changed := load(t, "daemonsets.apps", edit(t, goodDaemonSet, "image: log", "image: log:2"))
	k.PrepareForUpdate(changed, first)
	status := load(t, "daemonsets.apps", goodDaemonSet)
	k.PrepareForStatusUpdate(status, changed)
	if got := []string{number(first), number(same), number(changed), number(status)}; strings.Join(got, " ") != "1 1 2 2" {
		t.Errorf("numbers of the templates: %q", got)
	}
}

func TestControllerRevisionValidation(t *testing.T) {
	const good = "metadata: {name: a, namespace: x}\nrevision: 3\ndata: {spec: {a: b}}\n"
	runBad(t, "controllerrevisions.apps", good, []badObject{
		{"number", []string{"3", "-3"}, []string{"revision: Invalid value: -3: must be greater than or equal to 0"}},
		{"no data", []string{"data: {spec: {a: b}}", ""}, []string{"data: Required value: data is mandatory"}},
		{"null", []string{"{spec: {a: b}}", "null"}, []string{"data: Required value: data is mandatory"}},
		{"no object", []string{"{spec: {a: b}}", "[1]"}, []string{`data: Invalid value: "<value omitted>": error parsing data: json: cannot unmarshal array`}},
	})
	null := load(t, "controllerrevisions.apps", good).(*appsv1.ControllerRevision)
	null.Data.Raw = []byte("null") // as it can come in protobuf
	sameFaults(t, kindNamed(t, "controllerrevisions.apps").Validate(null), "data: Required value: data is mandatory")
	runUpdates(t, "controllerrevisions.apps", good, []badObject{
		{"number", []string{"3", "4"}, nil},
		{"data", []string{"a: b", "a: c"}, []string{"data: Invalid value"}},
	})
}

func TestWorkloadStatusValidation(t *testing.T) {
	for _, c := range []struct {
		resource, good, before, after string
		want                          []string
	}{
		{"statefulsets.apps", goodStatefulSet, "{collisionCount: 2}", "{replicas: 1, readyReplicas: 2, currentReplicas: 3, updatedReplicas: 4, availableReplicas: 5, observedGeneration: -1, collisionCount: 1}", []string{
			"status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.currentReplicas: Invalid value: 3: cannot be greater than status.replicas",
			"status.updatedReplicas: Invalid value: 4: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 5: cannot be greater than status.replicas",
			"status.availableReplicas: Invalid value: 5: cannot be greater than status.readyReplicas",
			"status.observedGeneration: Invalid value: -1", "status.collisionCount: Invalid value: 1: cannot be decremented",
		}},
		{"daemonsets.apps", goodDaemonSet, "{collisionCount: 2}", "{currentNumberScheduled: -1, numberMisscheduled: -1, desiredNumberScheduled: -1, numberReady: -1, observedGeneration: -1, updatedNumberScheduled: -1, numberAvailable: -1, numberUnavailable: -1, collisionCount: -1}", []string{
			"status.currentNumberScheduled: Invalid value: -1", "status.numberMisscheduled: Invalid value: -1", "status.desiredNumberScheduled: Invalid value: -1",
			"status.numberReady: Invalid value: -1", "status.observedGeneration: Invalid value: -1", "status.updatedNumberScheduled: Invalid value: -1",
			"status.numberAvailable: Invalid value: -1", "status.numberUnavailable: Invalid value: -1",
			"status.collisionCount: Invalid value: -1: must be greater", "status.collisionCount: Invalid value: -1: cannot be decremented",
		}},
		{"replicationcontrollers", goodController, "{}", "{replicas: 1, fullyLabeledReplicas: 2, readyReplicas: 1, availableReplicas: -1}", []string{
			"status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: -1",
		}},
	} {
		t.Run(c.resource, func(t *testing.T) {
			k, old := kindNamed(t, c.resource), load(t, c.resource, c.good+"status: "+c.before)
			sameFaults(t, k.ValidateStatusUpdate(load(t, c.resource, c.good+"status: "+c.after), old), c.want...)
			sameFaults(t, k.ValidateStatusUpdate(old, old))
		})
	}
}

const goodController = `
metadata: {name: old, namespace: default}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: old}}
    spec: {containers: [{name: main, image: web}]}
`

func TestReplicationControllerValidation(t *testing.T) {
	runBad(t, "replicationcontrollers", goodController, []badObject{
		{"numbers", []string{"replicas: 2", "replicas: -1\n  minReadySeconds: -2"}, []string{"spec.replicas: Invalid value: -1", "spec.minReadySeconds: Invalid value: -2"}},
		{"nothing to select", []string{"{app: old}", "{}"}, []string{"spec.selector: Required value"}},
		{"labels do not match", []string{"replicas: 2", "selector: {a: b}"}, []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"old\"}: `selector` does not match template `labels`"}},
		{"restart policy", []string{"{containers", "{restartPolicy: Never, activeDeadlineSeconds: 3, containers"}, []string{
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`,
			"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
		}},
	})
	k := kindNamed(t, "replicationcontrollers")
	sameFaults(t, k.Validate(load(t, "replicationcontrollers", "metadata: {name: a}\nspec: {}")), "spec.selector: Required value", "spec.template: Required value")
	runUpdates(t, "replicationcontrollers", goodController, []badObject{
		{"selector", []string{"{app: old}", "{app: new}"}, nil},
	})
}

func TestPodTemplateValidation(t *testing.T) {
	const good = "metadata: {name: a}\ntemplate: {spec: {containers: [{name: a, image: b}]}}\n"
	k := kindNamed(t, "podtemplates")
	sameFaults(t, k.Validate(load(t, "podtemplates", good)))
	sameFaults(t, k.Validate(load(t, "podtemplates", edit(t, good, "image: b", "image: ''", "{containers", "{ephemeralContainers: [{name: e, image: i}], containers"))),
		"template.spec.containers[0].image: Required value", "template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template")
}

func TestScaleReadsAndWrites(t *testing.T) {
	for resource, good := range map[string]string{
		"statefulsets.apps":      goodStatefulSet + "status: {replicas: 1}",
		"replicationcontrollers": goodController + "status: {replicas: 1}",
	} {
		obj, scale := load(t, resource, good), kindNamed(t, resource).Scale
		label := map[string]string{"statefulsets.apps": "app=db", "replicationcontrollers": "app=old"}[resource]
		if spec, status, selector := scale.Get(obj); spec != 2 || status != 1 || selector != label {
			t.Errorf("%s: %d %d %q", resource, spec, status, selector)
		}
		scale.Set(obj, 7)
		if spec, _, _ := scale.Get(obj); spec != 7 {
			t.Errorf("%s: %d replicas after setting 7", resource, spec)
		}
	}
}

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

const defaultedPod = `      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
`

func TestWorkloadDefaults(t *testing.T) {
	const bare = "metadata: {name: a}\nspec:\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: []}}\n"
	const template = "  template:\n    metadata:\n      labels:\n        a: b\n    spec:\n      containers: []\n" + defaultedPod
	sameYAML(t, load(t, "statefulsets.apps", bare+"  volumeClaimTemplates: [{metadata: {name: d}, spec: {volumeMode: Filesystem}}]\n"), `
metadata:
  name: a
spec:
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  podManagementPolicy: OrderedReady
  replicas: 1
  revisionHistoryLimit: 10
  selector:
    matchLabels:
      a: b
  serviceName: ""
`+template+`  updateStrategy:
    rollingUpdate:
      maxUnavailable: 1
      partition: 0
    type: RollingUpdate
  volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: d
    spec:
      resources: {}
      volumeMode: Filesystem
    status:
      phase: Pending
status:
  availableReplicas: 0
  replicas: 0
`)
	ds := load(t, "daemonsets.apps", bare)
	kindNamed(t, "daemonsets.apps").PrepareForCreate(ds)
	sameYAML(t, ds, `
metadata:
  annotations:
    deprecated.daemonset.template.generation: "1"
  name: a
spec:
  revisionHistoryLimit: 10
  selector:
    matchLabels:
      a: b
`+template+`  updateStrategy:
    rollingUpdate:
      maxSurge: 0
      maxUnavailable: 1
    type: RollingUpdate
status:
  currentNumberScheduled: 0
  desiredNumberScheduled: 0
  numberMisscheduled: 0
  numberReady: 0
`)
	sameYAML(t, load(t, "replicationcontrollers", "metadata: {name: a}\nspec:\n  template: {metadata: {labels: {a: b}}, spec: {containers: []}}\n"), `
metadata:
  labels:
    a: b
  name: a
spec:
  replicas: 1
  selector:
    a: b
`+template+`status:
  replicas: 0
`)
	sameYAML(t, load(t, "podtemplates", "metadata: {name: a}\ntemplate: {metadata: {labels: {a: b}}, spec: {containers: []}}\n"), `
metadata:
  name: a
template:
  metadata:
    labels:
      a: b
  spec:
    containers: []
`+strings.ReplaceAll(defaultedPod, "      ", "    "))
	sameYAML(t, load(t, "cronjobs.batch", `
metadata: {name: a}
spec:
  schedule: "@daily"
  jobTemplate: {spec: {podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: x}]}]}, template: {spec: {restartPolicy: Never, containers: []}}}}
`), `
metadata:
  name: a
spec:
  concurrencyPolicy: Allow
  failedJobsHistoryLimit: 1
  jobTemplate:
    metadata: {}
    spec:
      podFailurePolicy:
        rules:
        - action: Ignore
          onPodConditions:
          - status: "True"
            type: x
      template:
        metadata: {}
        spec:
          containers: []
`+strings.ReplaceAll(strings.ReplaceAll(defaultedPod, "      ", "          "), "Always", "Never")+`  schedule: '@daily'
  successfulJobsHistoryLimit: 3
  suspend: false
status: {}
`)
}

func TestStrategiesThatAreSaidStayBare(t *testing.T) {
	set := load(t, "statefulsets.apps", edit(t, goodStatefulSet, "replicas: 2", "updateStrategy: {type: RollingUpdate}")).(*appsv1.StatefulSet)
	if set.Spec.UpdateStrategy.RollingUpdate != nil {
		t.Error("a rolling update that was not asked for")
	}
	ds := load(t, "daemonsets.apps", edit(t, goodDaemonSet, "spec:\n", "spec:\n  updateStrategy: {type: OnDelete}\n")).(*appsv1.DaemonSet)
	if ds.Spec.UpdateStrategy.RollingUpdate != nil {
		t.Error("a rolling update on delete")
	}
}

func TestControllersLabelsAreItsOwn(t *testing.T) {
	rc := load(t, "replicationcontrollers", goodController).(*corev1.ReplicationController)
	rc.Labels["x"], rc.Spec.Selector["y"] = "1", "2"
	if len(rc.Spec.Template.Labels) != 1 || len(rc.Labels) != 2 {
		t.Errorf("maps are shared: template %v, labels %v", rc.Spec.Template.Labels, rc.Labels)
	}
}

func TestWorkloadTables(t *testing.T) {
	const template = "template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {disk: ssd}, containers: [{name: x, image: i1}, {name: z, image: i2}]}}"
	for name, c := range map[string]struct{ resource, head, object, row string }{
		"stateful set": {
			"statefulsets.apps", "Name|Ready|Age||Containers|Images",
			"metadata: {name: s, " + born + "}\nspec: {replicas: 3, selector: {matchLabels: {a: b}}, " + template + "}\nstatus: {readyReplicas: 1}",
			"s|1/3|5m||x,z|i1,i2",
		},
		"daemon set": {
			"daemonsets.apps", "Name|Desired|Current|Ready|Up-to-date|Available|Node Selector|Age||Containers|Images|Selector",
			"metadata: {name: d, " + born + "}\nspec: {selector: {matchLabels: {a: b}}, " + template + "}\n" +
				"status: {desiredNumberScheduled: 5, currentNumberScheduled: 4, numberReady: 3, updatedNumberScheduled: 2, numberAvailable: 1}",
			"d|5|4|3|2|1|disk=ssd|5m||x,z|i1,i2|a=b",
		},
		"revision": {
			"controllerrevisions.apps", "Name|Controller|Revision|Age",
			"metadata: {name: r, " + born + ", ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, controller: true}]}\nrevision: 4",
			"r|statefulset.apps/web|4|5m",
		},
		"revision of no one": {"controllerrevisions.apps", "Name|Controller|Revision|Age", "metadata: {name: r}\nrevision: 4", "r|<none>|4|<unknown>"},
		"cron job": {
			"cronjobs.batch", "Name|Schedule|Timezone|Suspend|Active|Last Schedule|Age||Containers|Images|Selector",
			"metadata: {name: c, " + born + "}\nspec: {schedule: '@daily', timeZone: UTC, suspend: true, jobTemplate: {spec: {" + template + "}}}\n" +
				"status: {active: [{name: a}, {name: b}], lastScheduleTime: '2026-01-01T12:04:00Z'}",
			"c|@daily|UTC|True|2|60s|5m||x,z|i1,i2|<none>",
		},
		"new cron job": {
			"cronjobs.batch", "Name|Schedule|Timezone|Suspend|Active|Last Schedule|Age||Containers|Images|Selector",
			"metadata: {name: c, " + born + "}\nspec: {schedule: '@daily', jobTemplate: {spec: {" + template + "}}}",
			"c|@daily|<none>|False|0|<none>|5m||x,z|i1,i2|<none>",
		},
		"replication controller": {
			"replicationcontrollers", "Name|Desired|Current|Ready|Age||Containers|Images|Selector",
			"metadata: {name: r, " + born + "}\nspec: {replicas: 3, " + template + "}\nstatus: {replicas: 2, readyReplicas: 1}",
			"r|3|2|1|5m||x,z|i1,i2|a=b",
		},
		"pod template": {"podtemplates", "Name|Containers|Images|Pod Labels", "metadata: {name: p}\n" + template, "p|x,z|i1,i2|a=b"},
	} {
		t.Run(name, func(t *testing.T) {
			k := kindNamed(t, c.resource)
			if got := headOf(k); got != c.head {
				t.Errorf("columns\n got %s\nwant %s", got, c.head)
			}
			if got := cellsOf(k, c.object, t); got != c.row {
				t.Errorf("row\n got %s\nwant %s", got, c.row)
			}
		})
	}
}
