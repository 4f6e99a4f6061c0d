package api

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

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
