package api

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
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
