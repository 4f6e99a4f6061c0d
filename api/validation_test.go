package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// kindNamed finds a kind by its resource, written as "deployments.apps".
func kindNamed(t testing.TB, resource string) *Kind {
	k := KindFor(schema.ParseGroupResource(resource))
	if k == nil {
		t.Fatalf("no kind %s", resource)
	}
	return k
}

// load reads an object of a kind and defaults it, as the server does with what a client sends.
func load(t testing.TB, resource, text string) runtime.Object {
	t.Helper()
	obj := kindNamed(t, resource).New()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("%s: %v", resource, err)
	}
	Scheme.Default(obj)
	return obj
}

// edit replaces parts of a text; each part must be in it, or the test would test nothing.
func edit(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the object", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// sameFaults compares errors with "path: reason[: detail]" lines; a line may leave out the end.
func sameFaults(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		got = append(got, strings.Split(e.Error(), "\n")[0])
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(g string) bool { return strings.HasPrefix(g, w) })
		if i < 0 {
			t.Errorf("missing fault\n  want %s\n  got  %s", w, strings.Join(got, "\n       "))
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) > 0 {
		t.Errorf("unexpected faults:\n       %s", strings.Join(got, "\n       "))
	}
}

// badObject is a good object spoilt: pairs of (what to replace, by what), and the faults to expect.
type badObject struct {
	name  string
	edits []string
	want  []string
}

func runBad(t *testing.T, resource, good string, cases []badObject) {
	t.Helper()
	k := kindNamed(t, resource)
	t.Run("good", func(t *testing.T) {
		obj := load(t, resource, good)
		sameFaults(t, k.Validate(obj))
		sameFaults(t, k.ValidateUpdate(obj, obj.DeepCopyObject()))
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			sameFaults(t, k.Validate(load(t, resource, edit(t, good, c.edits...))), c.want...)
		})
	}
}

// runUpdates spoils an update: the first state is the good object, the second its edited form.
func runUpdates(t *testing.T, resource, good string, cases []badObject) {
	t.Helper()
	k := kindNamed(t, resource)
	for _, c := range cases {
		t.Run("update "+c.name, func(t *testing.T) {
			old, obj := load(t, resource, good), load(t, resource, edit(t, good, c.edits...))
			if k.PrepareForCreate != nil {
				k.PrepareForCreate(old)
			}
			if k.PrepareForUpdate != nil {
				k.PrepareForUpdate(obj, old)
			}
			sameFaults(t, k.ValidateUpdate(obj, old), c.want...)
		})
	}
}

const goodPod = `
metadata: {name: web, namespace: default}
spec:
  volumes:
  - {name: data, emptyDir: {}}
  - {name: conf, configMap: {name: web}}
  initContainers:
  - {name: init, image: busybox, command: [sh]}
  containers:
  - name: main
    image: nginx:1.27
    ports: [{name: http, containerPort: 80}]
    env: [{name: A, value: b}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: "1", memory: 128Mi}}
    volumeMounts: [{name: data, mountPath: /data}, {name: conf, mountPath: /etc/web}]
    livenessProbe: {httpGet: {port: http}, periodSeconds: 5}
  tolerations: [{key: a, operator: Exists, effect: NoExecute}]
  terminationGracePeriodSeconds: 7
`

func TestPodValidation(t *testing.T) {
	const c = "spec.containers[0]"
	runBad(t, "pods", goodPod, []badObject{
		{"no name", []string{"name: main", "name: ''"}, []string{c + ".name: Required value"}},
		{"name in capitals", []string{"name: main", "name: Main"}, []string{c + `.name: Invalid value: "Main": a lowercase RFC 1123 label`}},
		{"name twice", []string{"name: init,", "name: main,"}, []string{`spec.initContainers[0].name: Duplicate value: "main"`}},
		{"no image", []string{"image: nginx:1.27", "image: ''"}, []string{c + ".image: Required value"}},
		{"image with space", []string{"image: nginx:1.27", "image: ' nginx'"}, []string{c + `.image: Invalid value: " nginx": must not have leading or trailing whitespace`}},
		{"port out of range", []string{"containerPort: 80", "containerPort: 70000"}, []string{c + ".ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"}},
		{"port missing", []string{"containerPort: 80", "hostPort: 81"}, []string{c + ".ports[0].containerPort: Required value"}},
		{"port name twice", []string{"containerPort: 80}", "containerPort: 80}, {name: http, containerPort: 81}"}, []string{c + `.ports[1].name: Duplicate value: "http"`}},
		{"host port twice", []string{"containerPort: 80}", "containerPort: 80, hostPort: 9}, {containerPort: 81, hostPort: 9}"}, []string{c + `.ports[1].hostPort: Duplicate value: "TCP//9"`}},
		{"protocol", []string{"containerPort: 80}", "containerPort: 80, protocol: XTP}"}, []string{c + `.ports[0].protocol: Unsupported value: "XTP": supported values: "SCTP", "TCP", "UDP"`}},
		{"env without name", []string{"{name: A, value: b}", "{value: b}"}, []string{c + ".env[0].name: Required value"}},
		{"env from nothing", []string{"fieldRef: {fieldPath: status.podIP}", ""}, []string{c + `.env[1].valueFrom: Invalid value: "": must specify one of`}},
		{"env from unknown field", []string{"status.podIP", "status.nonsense"}, []string{c + `.env[1].valueFrom.fieldRef.fieldPath: Invalid value: "status.nonsense": error converting fieldPath: field label not supported: status.nonsense`}},
		{"request above limit", []string{"cpu: 100m", "cpu: 2"}, []string{c + `.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`}},
		{"negative quantity", []string{"cpu: 100m", "cpu: -1"}, []string{c + `.resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		{"unknown resource", []string{"cpu: 100m", "unobtainium: 1"}, []string{
			c + `.resources.requests[unobtainium]: Invalid value: "unobtainium": must be a standard resource type or fully qualified`,
			c + `.resources.requests[unobtainium]: Invalid value: "unobtainium": must be a standard resource for containers`}},
		{"resource of Kubernetes' own domain", []string{"cpu: 100m", "kubernetes.io/anything: 1"}, nil},
		{"resource as quota names it", []string{"cpu: 100m", "requests.example.com/gpu: 1"}, []string{
			c + `.resources.requests[requests.example.com/gpu]: Invalid value: "requests.example.com/gpu": doesn't follow extended resource name standard`,
			"spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"}},
		{"extended resource without limit", []string{"cpu: 100m", "example.com/gpu: 1"}, []string{c + `.resources.limits: Required value: Limit must be set for non overcommitable resources`}},
		{"mount of no volume", []string{"{name: data, mountPath", "{name: nowhere, mountPath"}, []string{c + `.volumeMounts[0].name: Not found: "nowhere"`}},
		{"mount path twice", []string{"/etc/web", "/data"}, []string{c + `.volumeMounts[1].mountPath: Invalid value: "/data": must be unique`}},
		{"sub path climbs out", []string{"mountPath: /data", "mountPath: /data, subPath: ../x"}, []string{c + `.volumeMounts[0].subPath: Invalid value: "../x": must not contain '..'`}},
		{"probe without handler", []string{"httpGet: {port: http}", "timeoutSeconds: 1"}, []string{c + ".livenessProbe: Required value: must specify a handler type"}},
		{"probe with two handlers", []string{"httpGet: {port: http}", "httpGet: {port: http}, tcpSocket: {port: 1}"}, []string{c + ".livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"}},
		{"liveness must succeed once", []string{"periodSeconds: 5", "successThreshold: 2"}, []string{c + ".livenessProbe.successThreshold: Invalid value: 2: must be 1"}},
		{"negative period", []string{"periodSeconds: 5", "periodSeconds: -5"}, []string{c + ".livenessProbe.periodSeconds: Invalid value: -5: must be greater than or equal to 0"}},
		{"probe of init container", []string{"command: [sh]", "livenessProbe: {exec: {command: [a]}}"}, []string{"spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"}},
		{"volume twice", []string{"{name: conf, configMap", "{name: data, configMap"}, []string{`spec.volumes[1].name: Duplicate value: "data"`, c + `.volumeMounts[1].name: Not found: "conf"`}},
		{"volume of two kinds", []string{"emptyDir: {}", "emptyDir: {}, hostPath: {path: /}"}, []string{`spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type`}},
		{"config map without name", []string{"configMap: {name: web}", "configMap: {defaultMode: 511}"}, []string{"spec.volumes[1].configMap.name: Required value"}},
		{"mode", []string{"configMap: {name: web}", "configMap: {name: web, defaultMode: 512}"}, []string{"spec.volumes[1].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive"}},
		{"restart policy", []string{"terminationGracePeriodSeconds: 7", "restartPolicy: Sometimes"}, []string{`spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`}},
		{"deadline", []string{"terminationGracePeriodSeconds: 7", "activeDeadlineSeconds: 0"}, []string{"spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"}},
		{"toleration", []string{"operator: Exists, effect", "operator: Exists, value: x, effect"}, []string{"spec.tolerations[0].operator: Invalid value"}},
		{"toleration seconds", []string{"effect: NoExecute", "effect: NoSchedule, tolerationSeconds: 3"}, []string{`spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be 'NoExecute' when `}},
		{"dns none", []string{"terminationGracePeriodSeconds: 7", "dnsPolicy: None"}, []string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
		{"spread", []string{"terminationGracePeriodSeconds: 7", "topologySpreadConstraints: [{maxSkew: 0, topologyKey: '', whenUnsatisfiable: X}]"}, []string{
			"spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
			"spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
			`spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "X": supported values: "DoNotSchedule", "ScheduleAnyway"`,
		}},
		{"node affinity", []string{"terminationGracePeriodSeconds: 7", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}"}, []string{
			"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value",
		}},
		{"pod affinity weight", []string{"terminationGracePeriodSeconds: 7", "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: a}}]}}"}, []string{
			"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100",
		}},
		{"node selector", []string{"terminationGracePeriodSeconds: 7", "nodeSelector: {a: 'not ok'}"}, []string{`spec.nodeSelector: Invalid value: "not ok"`}},
		{"escalation", []string{"image: nginx:1.27", "image: nginx:1.27\n    securityContext: {privileged: true, allowPrivilegeEscalation: false}"}, []string{c + ".securityContext: Invalid value"}},
		{"run as user", []string{"terminationGracePeriodSeconds: 7", "securityContext: {runAsUser: -1}"}, []string{"spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"}},
		{"several faults at once", []string{"name: main", "name: Main", "containerPort: 80", "containerPort: 0"}, []string{c + ".name: Invalid value", c + ".ports[0].containerPort: Required value"}},
		{"gated and bound", []string{"terminationGracePeriodSeconds: 7", "nodeName: n\n  schedulingGates: [{name: a}]"}, []string{"spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"}},
		{"host network port", []string{"containerPort: 80}", "containerPort: 80, hostPort: 81}", "terminationGracePeriodSeconds: 7", "hostNetwork: true"}, []string{c + ".ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true"}},
	})
	k := kindNamed(t, "pods")
	sameFaults(t, k.Validate(load(t, "pods", "metadata: {name: a}\nspec: {}")), "spec.containers: Required value")
}

func TestPodUpdate(t *testing.T) {
	runUpdates(t, "pods", goodPod, []badObject{
		{"image", []string{"nginx:1.27", "nginx:1.28\n    imagePullPolicy: IfNotPresent"}, nil},
		{"toleration added", []string{"tolerations: [", "tolerations: [{key: b, operator: Exists},"}, nil},
		{"toleration removed", []string{"tolerations: [{key: a", "tolerations: [{key: c"}, []string{"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"}},
		{"deadline set", []string{"terminationGracePeriodSeconds: 7", "terminationGracePeriodSeconds: 7\n  activeDeadlineSeconds: 9"}, nil},
		{"grace", []string{"terminationGracePeriodSeconds: 7", "terminationGracePeriodSeconds: 8"}, []string{"spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)"}},
		{"env", []string{"value: b", "value: c"}, []string{"spec: Forbidden: pod updates may not change fields other than"}},
		{"container added", []string{"  tolerations", "  - {name: two, image: b}\n  tolerations"}, []string{"spec.containers: Forbidden: pod updates may not add or remove containers"}},
		{"gate added", []string{"terminationGracePeriodSeconds: 7", "terminationGracePeriodSeconds: 7\n  schedulingGates: [{name: a}]"}, []string{"spec.schedulingGates[0]: Forbidden: only deletion is allowed, but found new scheduling gate 'a'"}},
	})
	gated := edit(t, goodPod, "terminationGracePeriodSeconds: 7", "terminationGracePeriodSeconds: 7\n  nodeSelector: {a: b}\n  schedulingGates: [{name: g}]")
	runUpdates(t, "pods", gated, []badObject{
		{"gate removed", []string{"schedulingGates: [{name: g}]", ""}, nil},
		{"selector narrowed", []string{"{a: b}", "{a: b, c: d}"}, nil},
		{"selector changed", []string{"{a: b}", "{a: c}"}, []string{"spec.nodeSelector: Invalid value"}},
	})
}

const goodDeployment = `
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: nginx}]
`

func TestDeploymentValidation(t *testing.T) {
	runBad(t, "deployments.apps", goodDeployment, []badObject{
		{"replicas", []string{"replicas: 2", "replicas: -1"}, []string{"spec.replicas: Invalid value: -1: must be greater than or equal to 0"}},
		{"no selector", []string{"selector: {matchLabels: {app: web}}", "paused: false"}, []string{
			"spec.selector: Required value", "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"}},
		{"empty selector", []string{"selector: {matchLabels: {app: web}}", "selector: {}"}, []string{"spec.selector: Invalid value: {}: empty selector is invalid for deployment"}},
		{"labels do not match", []string{"labels: {app: web}", "labels: {app: other}"}, []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"}},
		{"restart policy", []string{"      containers", "      restartPolicy: Never\n      containers"}, []string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
		{"deadline", []string{"      containers", "      activeDeadlineSeconds: 3\n      containers"}, []string{"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"}},
		{"recreate with rolling", []string{"replicas: 2", "strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}"}, []string{"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
		{"nothing may move", []string{"replicas: 2", "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}"}, []string{`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `}},
		{"percent", []string{"replicas: 2", "strategy: {rollingUpdate: {maxSurge: lots}}"}, []string{"spec.strategy.rollingUpdate.maxSurge: Invalid value"}},
		{"deadline too short", []string{"replicas: 2", "minReadySeconds: 10\n  progressDeadlineSeconds: 10"}, []string{"spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds"}},
		{"fault in the pod", []string{"image: nginx", "image: ''"}, []string{"spec.template.spec.containers[0].image: Required value"}},
	})
	runUpdates(t, "deployments.apps", goodDeployment, []badObject{
		{"image", []string{"image: nginx", "image: nginx:2"}, nil},
		{"selector", []string{"{app: web}}", "{app: new}}", "labels: {app: web}", "labels: {app: new}"}, []string{`spec.selector: Invalid value: {"matchLabels":{"app":"new"}}: field is immutable`}},
	})
	runBad(t, "replicasets.apps", goodDeployment, []badObject{
		{"labels do not match", []string{"labels: {app: web}", "labels: {app: other}"}, []string{"spec.template.metadata.labels: Invalid value"}},
		{"ready seconds", []string{"replicas: 2", "minReadySeconds: -1"}, []string{"spec.minReadySeconds: Invalid value: -1"}},
	})
	runUpdates(t, "replicasets.apps", goodDeployment, []badObject{
		{"selector", []string{"{app: web}}", "{app: new}}", "labels: {app: web}", "labels: {app: new}"}, []string{"spec.selector: Invalid value"}},
	})
}

func TestReplicaStatusValidation(t *testing.T) {
	k := kindNamed(t, "replicasets.apps")
	obj := load(t, "replicasets.apps", goodDeployment+"status: {replicas: 1, readyReplicas: 2, availableReplicas: 3}")
	sameFaults(t, k.ValidateStatusUpdate(obj, load(t, "replicasets.apps", goodDeployment)),
		"status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
		"status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
		"status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas")
}

const goodService = `
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7]
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
`

func TestServiceValidation(t *testing.T) {
	runBad(t, "services", goodService, []badObject{
		{"no ports", []string{"ports: [{name: http, port: 80, targetPort: http}]", ""}, []string{"spec.ports: Required value"}},
		{"port", []string{"port: 80", "port: 0"}, []string{"spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		{"unnamed", []string{"ports: [", "ports: [{port: 81},"}, []string{"spec.ports[0].name: Required value"}},
		{"port twice", []string{"ports: [", "ports: [{name: b, port: 80},"}, []string{"spec.ports[1]: Duplicate value"}},
		{"name twice", []string{"ports: [", "ports: [{name: http, port: 81},"}, []string{`spec.ports[1].name: Duplicate value: "http"`}},
		{"target port", []string{"targetPort: http", "targetPort: HTTP PORT"}, []string{"spec.ports[0].targetPort: Invalid value", "spec.ports[0].targetPort: Invalid value"}},
		{"node port of cluster ip", []string{"port: 80", "port: 80, nodePort: 30000"}, []string{"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
		{"type", []string{"selector", "type: Magic\n  selector"}, []string{`spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`}},
		{"headless node port", []string{"10.96.0.7\n", "None\n", "[10.96.0.7]", "[None]", "selector", "type: NodePort\n  selector"}, []string{`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`}},
		{"external name", []string{"selector", "type: ExternalName\n  selector"}, []string{"spec.clusterIPs: Forbidden: may not be set when `type` is 'ExternalName'", "spec.externalName: Required value"}},
		{"affinity", []string{"selector", "sessionAffinity: Maybe\n  selector"}, []string{`spec.sessionAffinity: Unsupported value: "Maybe": supported values: "ClientIP", "None"`}},
		{"affinity seconds", []string{"selector", "sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 90000}}\n  selector"}, []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400"}},
		{"external policy", []string{"selector", "externalTrafficPolicy: Local\n  selector"}, []string{`spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services`}},
		{"addresses differ", []string{"[10.96.0.7]", "[10.96.0.8]"}, []string{"spec.clusterIPs: Invalid value"}},
		{"external ip", []string{"selector", "externalIPs: [127.0.0.1]\n  selector"}, []string{"spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"}},
	})
	runUpdates(t, "services", goodService, []badObject{
		{"without address", []string{"  clusterIP: 10.96.0.7\n  clusterIPs: [10.96.0.7]\n", ""}, nil},
		{"to node port", []string{"selector", "type: NodePort\n  selector"}, nil},
		{"to external name", []string{"  clusterIP: 10.96.0.7\n  clusterIPs: [10.96.0.7]\n", "  type: ExternalName\n  externalName: a.b\n"}, nil},
		{"other address", []string{"10.96.0.7\n", "10.96.0.8\n"}, []string{`spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set`}},
	})
}

func TestPodStatusUpdate(t *testing.T) {
	k := kindNamed(t, "pods")
	old := load(t, "pods", goodPod)
	k.PrepareForCreate(old)
	fine := old.DeepCopyObject().(*corev1.Pod)
	fine.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"}
	k.PrepareForStatusUpdate(fine, old)
	sameFaults(t, k.ValidateStatusUpdate(fine, old))
	if fine.Status.QOSClass != corev1.PodQOSBurstable || len(fine.Status.PodIPs) != 1 {
		t.Errorf("status after update: %+v", fine.Status)
	}
	bad := old.DeepCopyObject().(*corev1.Pod)
	bad.Spec.NodeName, bad.Status.QOSClass, bad.Status.PodIPs = "n", corev1.PodQOSGuaranteed, []corev1.PodIP{{IP: "x"}}
	sameFaults(t, k.ValidateStatusUpdate(bad, old), "spec.nodeName: Forbidden: may not be changed directly",
		`status.qosClass: Invalid value: "Guaranteed": field is immutable`, `status.podIPs[0].ip: Invalid value: "x"`)
}

func TestEphemeralContainersOnlyGrow(t *testing.T) {
	one := load(t, "pods", goodPod+"  ephemeralContainers: [{name: e, image: i, targetContainerName: main}]").(*corev1.Pod)
	two := load(t, "pods", goodPod+"  ephemeralContainers: [{name: e, image: i, targetContainerName: main}, {name: f, image: i}]").(*corev1.Pod)
	none := load(t, "pods", goodPod).(*corev1.Pod)
	sameFaults(t, ValidateEphemeralContainersUpdate(one, none))
	sameFaults(t, ValidateEphemeralContainersUpdate(two, one))
	sameFaults(t, ValidateEphemeralContainersUpdate(none, one), `spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed`)
	one.Spec.EphemeralContainers[0].Ports = []corev1.ContainerPort{{ContainerPort: 1, Protocol: corev1.ProtocolTCP}}
	sameFaults(t, ValidateEphemeralContainersUpdate(one, none), "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container")
	sameFaults(t, kindNamed(t, "pods").Validate(two), "spec.ephemeralContainers: Forbidden: cannot be set on create")
}

func TestMapValidation(t *testing.T) {
	const good = "metadata: {name: a}\ndata: {k: v}\n"
	runBad(t, "configmaps", good, []badObject{
		{"key", []string{"k: v", "'k k': v"}, []string{`data[k k]: Invalid value: "k k": a valid config key must consist of`}},
		{"key twice", []string{"k: v}", "k: v}\nbinaryData: {k: dg==}"}, []string{`data[k]: Invalid value: "k": duplicate of key present in binaryData`}},
		{"too long", []string{"k: v", "k: " + strings.Repeat("v", dataBytesMax+1)}, []string{"[]: Too long: may not be more than 1048576 bytes"}},
	})
	runUpdates(t, "configmaps", good+"immutable: true\n", []badObject{
		{"frozen", []string{"k: v", "k: w"}, []string{"data: Forbidden: field is immutable when `immutable` is set"}},
		{"thawed", []string{"immutable: true", "immutable: false"}, []string{"immutable: Forbidden: field is immutable when `immutable` is set"}},
	})
	runBad(t, "secrets", "metadata: {name: a}\nstringData: {k: v}\n", []badObject{
		{"tls", []string{"stringData", "type: kubernetes.io/tls\nstringData"}, []string{"data[tls.crt]: Required value", "data[tls.key]: Required value"}},
		{"docker", []string{"stringData: {k", "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson"}, []string{"data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\""}},
	})
	runUpdates(t, "secrets", "metadata: {name: a}\nstringData: {k: v}\n", []badObject{
		{"type", []string{"stringData", "type: other\nstringData"}, []string{`type: Invalid value: "other": field is immutable`}},
	})
}

const goodJob = `
metadata: {name: sum, namespace: default, uid: u1}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: nginx}]
`

func TestJobValidation(t *testing.T) {
	k := kindNamed(t, "jobs.batch")
	for _, c := range []badObject{
		{"good", nil, nil},
		{"counts", []string{"spec:", "spec:\n  completions: -1\n  parallelism: -2"}, []string{"spec.completions: Invalid value: -1", "spec.parallelism: Invalid value: -2"}},
		{"restart", []string{"Never", "Always"}, []string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
		{"indexed", []string{"spec:", "spec:\n  completionMode: Indexed\n  parallelism: 1"}, []string{"spec.completions: Required value: when completion mode is Indexed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			obj := load(t, "jobs.batch", edit(t, goodJob, c.edits...))
			k.PrepareForCreate(obj)
			sameFaults(t, k.Validate(obj), c.want...)
		})
	}
	old := load(t, "jobs.batch", goodJob)
	k.PrepareForCreate(old)
	changed := old.DeepCopyObject()
	job := changed.(*batchv1.Job)
	job.Spec.Template.Spec.Containers[0].Image = "other"
	job.Spec.Completions = new(int32(3))
	sameFaults(t, k.ValidateUpdate(changed, old), "spec.completions: Invalid value: 3: field is immutable", "spec.template: Invalid value")
}

func TestOtherValidation(t *testing.T) {
	runBad(t, "endpointslices.discovery.k8s.io", "metadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\nports: [{name: a, port: 1}]\n", []badObject{
		{"type", []string{"IPv4", "IPX"}, []string{`addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"`}},
		{"address", []string{"10.0.0.1", "fe80::1"}, []string{`endpoints[0].addresses[0]: Invalid value: "fe80::1": must be a valid IPv4 address`}},
		{"no address", []string{"[10.0.0.1]", "[]"}, []string{"endpoints[0].addresses: Required value: must contain at least 1 address"}},
		{"name twice", []string{"port: 1}", "port: 1}, {name: a, port: 2}"}, []string{`ports[1].name: Duplicate value: "a"`}},
	})
	runBad(t, "endpoints", "metadata: {name: a}\nsubsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 1}]}]\n", []badObject{
		{"loopback", []string{"10.0.0.1", "127.0.0.1"}, []string{"subsets[0].addresses[0].ip: Invalid value"}},
		{"port", []string{"port: 1", "port: 0"}, []string{"subsets[0].ports[0].port: Invalid value: 0"}},
	})
	runBad(t, "leases.coordination.k8s.io", "metadata: {name: a}\nspec: {leaseDurationSeconds: 5}\n", []badObject{
		{"duration", []string{"5", "0"}, []string{"spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"}},
	})
	runBad(t, "nodes", "metadata: {name: a}\nspec: {taints: [{key: a, effect: NoSchedule}]}\nstatus: {capacity: {cpu: 1}}\n", []badObject{
		{"effect", []string{"NoSchedule", "NoFun"}, []string{`spec.taints[0].effect: Unsupported value: "NoFun": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"`}},
		{"twice", []string{"effect: NoSchedule}", "effect: NoSchedule}, {key: a, effect: NoSchedule}"}, []string{"spec.taints[1]: Duplicate value"}},
		{"capacity", []string{"cpu: 1", "cpu: -1"}, []string{"status.capacity[cpu]: Invalid value", "status.allocatable[cpu]: Invalid value"}},
	})
	runBad(t, "events", "metadata: {name: a, namespace: x}\ninvolvedObject: {namespace: x}\n", []badObject{
		{"namespace", []string{"{namespace: x}\n", "{namespace: z}\n"}, []string{`involvedObject.namespace: Invalid value: "z": does not match event.namespace`}},
		{"new shape", []string{"involved", "eventTime: '2026-01-01T00:00:00.000000Z'\ninvolved"}, []string{
			"reportingComponent: Required value", `reportingComponent: Invalid value: "": name part must be non-empty`, `reportingComponent: Invalid value: "": name part must consist of`,
			"reportingInstance: Required value", "action: Required value", "reason: Required value",
		}},
	})
	k := kindNamed(t, "namespaces")
	ns := load(t, "namespaces", "metadata: {name: a}")
	k.PrepareForCreate(ns)
	sameFaults(t, k.ValidateStatusUpdate(ns, ns))
	gone := ns.DeepCopyObject()
	now := metav1.Unix(1, 0)
	gone.(metav1.Object).SetDeletionTimestamp(&now)
	sameFaults(t, k.ValidateStatusUpdate(gone, ns), `status.phase: Invalid value: "Active": may only be 'Terminating' if `)
}

func ExampleKind_GroupResource() {
	fmt.Println(KindFor(schema.GroupResource{Group: "apps", Resource: "deployments"}).GroupResource())
	// Output: deployments.apps
}
