package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// sameYAML compares an object with the text of what kubectl get -o yaml would show of it.
func sameYAML(t *testing.T, obj runtime.Object, want string) {
	t.Helper()
	b, err := yaml.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(string(b))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPodDefaults(t *testing.T) {
	pod := load(t, "pods", `
metadata: {name: web}
spec:
  serviceAccount: robot
  volumes:
  - name: empty
  - {name: conf, configMap: {name: c}}
  - {name: token, projected: {sources: [{serviceAccountToken: {path: t}}]}}
  - {name: host, hostPath: {path: /x}}
  - {name: down, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}
  containers:
  - name: main
    image: nginx
    ports: [{containerPort: 80}]
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    resources: {limits: {cpu: 1, memory: 64Mi}, requests: {cpu: 100.5m}}
    readinessProbe: {httpGet: {port: 80}}
    lifecycle: {preStop: {httpGet: {port: 80}}}
`)
	kindNamed(t, "pods").PrepareForCreate(pod)
	sameYAML(t, pod, `
metadata:
  name: web
spec:
  containers:
  - env:
    - name: IP
      valueFrom:
        fieldRef:
          apiVersion: v1
          fieldPath: status.podIP
    image: nginx
    imagePullPolicy: Always
    lifecycle:
      preStop:
        httpGet:
          path: /
          port: 80
          scheme: HTTP
    name: main
    ports:
    - containerPort: 80
      protocol: TCP
    readinessProbe:
      failureThreshold: 3
      httpGet:
        path: /
        port: 80
        scheme: HTTP
      periodSeconds: 10
      successThreshold: 1
      timeoutSeconds: 1
    resources:
      limits:
        cpu: "1"
        memory: 64Mi
      requests:
        cpu: 101m
        memory: 64Mi
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccount: robot
  serviceAccountName: robot
  terminationGracePeriodSeconds: 30
  volumes:
  - emptyDir: {}
    name: empty
  - configMap:
      defaultMode: 420
      name: c
    name: conf
  - name: token
    projected:
      defaultMode: 420
      sources:
      - serviceAccountToken:
          expirationSeconds: 3600
          path: t
  - hostPath:
      path: /x
      type: ""
    name: host
  - downwardAPI:
      defaultMode: 420
      items:
      - fieldRef:
          apiVersion: v1
          fieldPath: metadata.name
        path: p
    name: down
status:
  phase: Pending
  qosClass: Burstable
`)
}

func TestDeploymentDefaults(t *testing.T) {
	sameYAML(t, load(t, "deployments.apps", `
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: 'nginx:1.27', resources: {limits: {cpu: 1}}}]}
`), `
metadata:
  name: web
spec:
  progressDeadlineSeconds: 600
  replicas: 1
  revisionHistoryLimit: 10
  selector:
    matchLabels:
      app: web
  strategy:
    rollingUpdate:
      maxSurge: 25%
      maxUnavailable: 25%
    type: RollingUpdate
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - image: nginx:1.27
        imagePullPolicy: IfNotPresent
        name: main
        resources:
          limits:
            cpu: "1"
        terminationMessagePath: /dev/termination-log
        terminationMessagePolicy: File
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
status: {}
`)
}

func TestJobDefaults(t *testing.T) {
	job := load(t, "jobs.batch", `
metadata: {name: sum, uid: u1}
spec:
  template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: []}}
`)
	kindNamed(t, "jobs.batch").PrepareForCreate(job)
	sameYAML(t, job, `
metadata:
  labels:
    a: b
  name: sum
  uid: u1
spec:
  backoffLimit: 6
  completionMode: NonIndexed
  completions: 1
  manualSelector: false
  parallelism: 1
  podReplacementPolicy: TerminatingOrFailed
  selector:
    matchLabels:
      batch.kubernetes.io/controller-uid: u1
  suspend: false
  template:
    metadata:
      labels:
        a: b
        batch.kubernetes.io/controller-uid: u1
        batch.kubernetes.io/job-name: sum
        controller-uid: u1
        job-name: sum
    spec:
      containers: []
      dnsPolicy: ClusterFirst
      restartPolicy: Never
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
status: {}
`)
}

func TestServiceDefaults(t *testing.T) {
	svc := load(t, "services", `
metadata: {name: web}
spec: {type: LoadBalancer, sessionAffinity: ClientIP, clusterIP: 10.96.0.7, ports: [{port: 80}]}
`)
	kindNamed(t, "services").PrepareForCreate(svc)
	sameYAML(t, svc, `
metadata:
  name: web
spec:
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.0.7
  clusterIPs:
  - 10.96.0.7
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  ipFamilies:
  - IPv4
  ipFamilyPolicy: SingleStack
  ports:
  - port: 80
    protocol: TCP
    targetPort: 80
  sessionAffinity: ClientIP
  sessionAffinityConfig:
    clientIP:
      timeoutSeconds: 10800
  type: LoadBalancer
status:
  loadBalancer: {}
`)
}

func TestOtherDefaults(t *testing.T) {
	ns := load(t, "namespaces", "metadata: {name: a}")
	kindNamed(t, "namespaces").PrepareForCreate(ns)
	sameYAML(t, ns, "metadata:\n  labels:\n    kubernetes.io/metadata.name: a\n  name: a\nspec:\n  finalizers:\n  - kubernetes\nstatus:\n  phase: Active\n")
	sameYAML(t, load(t, "secrets", "metadata: {name: a}\nstringData: {k: v}\ndata: {k: dw==, l: dw==}"),
		"data:\n  k: dg==\n  l: dw==\nmetadata:\n  name: a\ntype: Opaque\n")
	sameYAML(t, load(t, "endpoints", "metadata: {name: a}\nsubsets: [{ports: [{port: 1}]}]"),
		"metadata:\n  name: a\nsubsets:\n- ports:\n  - port: 1\n    protocol: TCP\n")
	sameYAML(t, load(t, "endpointslices.discovery.k8s.io", "metadata: {name: a}\naddressType: IPv4\nendpoints: []\nports: [{port: 1}]"),
		"addressType: IPv4\nendpoints: []\nmetadata:\n  name: a\nports:\n- name: \"\"\n  port: 1\n  protocol: TCP\n")
	node := load(t, "nodes", "metadata: {name: a}\nspec: {podCIDR: 10.1.0.0/24}\nstatus: {capacity: {cpu: 2}}").(*corev1.Node)
	if q := node.Status.Allocatable[corev1.ResourceCPU]; q.String() != "2" || len(node.Spec.PodCIDRs) != 1 {
		t.Errorf("node: allocatable %v, podCIDRs %v", node.Status.Allocatable, node.Spec.PodCIDRs)
	}
}

func TestPullPolicyFollowsTheTag(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":                          corev1.PullAlways,
		"nginx:latest":                   corev1.PullAlways,
		"nginx:1.27":                     corev1.PullIfNotPresent,
		"registry:5000/nginx":            corev1.PullAlways,
		"registry:5000/nginx:1.27":       corev1.PullIfNotPresent,
		"registry:5000/a/nginx" + digest: corev1.PullIfNotPresent,
		"nginx:1.27" + digest:            corev1.PullIfNotPresent,
	} {
		if got := pullPolicyOf(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestHostNetworkTakesThePortOfTheContainer(t *testing.T) {
	pod := load(t, "pods", "spec: {hostNetwork: true, containers: [{name: a, image: b, ports: [{containerPort: 80}]}]}").(*corev1.Pod)
	if got := pod.Spec.Containers[0].Ports[0].HostPort; got != 80 {
		t.Errorf("host port %d", got)
	}
}

func TestServiceUpdateKeepsWhatWasAllocated(t *testing.T) {
	k := kindNamed(t, "services")
	old := load(t, "services", `
spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{name: a, port: 80, nodePort: 30001}, {name: b, port: 81, nodePort: 30002}]}`)
	k.PrepareForCreate(old)
	svc := load(t, "services", "spec: {type: NodePort, ports: [{name: b, port: 81}, {name: a, port: 80, nodePort: 30005}]}").(*corev1.Service)
	k.PrepareForUpdate(svc, old)
	if s := &svc.Spec; s.ClusterIP != "10.0.0.1" || s.Ports[0].NodePort != 30002 || s.Ports[1].NodePort != 30005 {
		t.Errorf("%+v", s)
	}
	svc = old.DeepCopyObject().(*corev1.Service)
	svc.Spec.Type = corev1.ServiceTypeClusterIP
	k.PrepareForUpdate(svc, old)
	if s := &svc.Spec; s.Ports[0].NodePort != 0 || s.Ports[1].NodePort != 0 || s.ExternalTrafficPolicy != "" {
		t.Errorf("left behind by the type NodePort: %+v", s)
	}
}

func TestDeploymentCountsAnnotationsAsGenerations(t *testing.T) {
	k := kindNamed(t, "deployments.apps")
	old := load(t, "deployments.apps", goodDeployment)
	changed := load(t, "deployments.apps", edit(t, goodDeployment, "{name: web,", "{name: web, annotations: {a: b},"))
	k.PrepareForUpdate(changed, old)
	same := old.DeepCopyObject()
	k.PrepareForUpdate(same, old)
	if got, want := generationOf(changed), generationOf(old)+1; got != want {
		t.Errorf("generation %d, want %d", got, want)
	}
	if generationOf(same) != generationOf(old) {
		t.Error("an unchanged deployment has a new generation")
	}
}

func generationOf(o runtime.Object) int64 {
	return o.(interface{ GetGeneration() int64 }).GetGeneration()
}
