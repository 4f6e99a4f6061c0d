package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// noon is when the tables below are shown; the objects are five minutes old.
var noon = time.Date(2026, 1, 1, 12, 5, 0, 0, time.UTC)

const born = `creationTimestamp: "2026-01-01T12:00:00Z"`

// cellsOf shows a row as "cell|cell|..."; the wide cells follow "||".
func cellsOf(k *Kind, text string, t *testing.T) string {
	t.Helper()
	var narrow, extra []string
	for i, c := range k.Row(load(t, k.GroupResource().String(), text), noon) {
		if k.Columns[i].Priority == 0 {
			narrow = append(narrow, fmt.Sprint(c))
		} else {
			extra = append(extra, fmt.Sprint(c))
		}
	}
	return join(narrow, extra)
}

func join(narrow, extra []string) string {
	if len(extra) == 0 {
		return strings.Join(narrow, "|")
	}
	return strings.Join(narrow, "|") + "||" + strings.Join(extra, "|")
}

func headOf(k *Kind) string {
	var narrow, extra []string
	for _, c := range k.Columns {
		if c.Priority == 0 {
			narrow = append(narrow, c.Name)
		} else {
			extra = append(extra, c.Name)
		}
	}
	return join(narrow, extra)
}

func TestTables(t *testing.T) {
	const template = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x, image: i1}, {name: z, image: i2}]}}"
	for resource, c := range map[string]struct{ head, object, row string }{
		"pods": {
			"Name|Ready|Status|Restarts|Age||IP|Node|Nominated Node|Readiness Gates",
			"metadata: {name: p, " + born + "}\nspec: {nodeName: n1, containers: [{name: a}]}\nstatus: {phase: Running, podIP: 10.0.0.3, containerStatuses: [{name: a, ready: true, state: {running: {}}}]}",
			"p|1/1|Running|0|5m||10.0.0.3|n1|<none>|<none>",
		},
		"deployments.apps": {
			"Name|Ready|Up-to-date|Available|Age||Containers|Images|Selector",
			"metadata: {name: d, " + born + "}\nspec: {replicas: 2, selector: {matchLabels: {a: b}}, " + template + "}\nstatus: {readyReplicas: 1, updatedReplicas: 2, availableReplicas: 1}",
			"d|1/2|2|1|5m||x,z|i1,i2|a=b",
		},
		"replicasets.apps": {
			"Name|Desired|Current|Ready|Age||Containers|Images|Selector",
			"metadata: {name: r, " + born + "}\nspec: {replicas: 3, selector: {matchLabels: {a: b}}, " + template + "}\nstatus: {replicas: 2, readyReplicas: 1}",
			"r|3|2|1|5m||x,z|i1,i2|a=b",
		},
		"jobs.batch": {
			"Name|Status|Completions|Duration|Age||Containers|Images|Selector",
			"metadata: {name: j, " + born + "}\nspec: {completions: 3, " + template + "}\nstatus: {succeeded: 1, startTime: '2026-01-01T12:04:00Z'}",
			"j|Running|1/3|60s|5m||x,z|i1,i2|<none>",
		},
		"services": {
			"Name|Type|Cluster-IP|External-IP|Port(s)|Age||Selector",
			"metadata: {name: s, " + born + "}\nspec: {type: NodePort, clusterIP: 10.0.0.1, selector: {a: b}, ports: [{port: 80, nodePort: 30000}, {port: 53, protocol: UDP}]}",
			"s|NodePort|10.0.0.1|<none>|80:30000/TCP,53/UDP|5m||a=b",
		},
		"endpoints": {
			"Name|Endpoints|Age",
			"metadata: {name: e, " + born + "}\nsubsets: [{addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.2}, {ip: 10.0.0.3}, {ip: 10.0.0.4}], ports: [{port: 80}]}]",
			"e|10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...|5m",
		},
		"endpointslices.discovery.k8s.io": {
			"Name|AddressType|Ports|Endpoints|Age",
			"metadata: {name: e, " + born + "}\naddressType: IPv4\nports: [{port: 80}, {}]\nendpoints: [{addresses: [10.0.0.1, 10.0.0.2]}]",
			"e|IPv4|80,*|10.0.0.1,10.0.0.2|5m",
		},
		"nodes": {
			"Name|Status|Roles|Age|Version||Internal-IP|External-IP|OS-Image|Kernel-Version|Container-Runtime",
			"metadata: {name: m, " + born + ", labels: {node-role.kubernetes.io/worker: '', node-role.kubernetes.io/control-plane: ''}}\nspec: {unschedulable: true}\nstatus: {conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: 192.0.2.1}], nodeInfo: {kubeletVersion: v1, osImage: Debian}}",
			"m|Ready,SchedulingDisabled|control-plane,worker|5m|v1||192.0.2.1|<none>|Debian|<unknown>|<unknown>",
		},
		"events": {
			"Last Seen|Type|Reason|Object|Message||Subobject|Source|First Seen|Count|Name",
			"metadata: {name: ev}\ntype: Warning\nreason: BackOff\nmessage: ' again '\ncount: 4\ninvolvedObject: {kind: Pod, name: p, fieldPath: 'spec.containers{a}'}\nsource: {component: agent, host: n1}\nfirstTimestamp: '2026-01-01T12:00:00Z'\nlastTimestamp: '2026-01-01T12:04:00Z'",
			"60s|Warning|BackOff|pod/p|again||spec.containers{a}|agent, n1|5m|4|ev",
		},
		"namespaces":                 {"Name|Status|Age", "metadata: {name: x, " + born + "}\nstatus: {phase: Active}", "x|Active|5m"},
		"configmaps":                 {"Name|Data|Age", "metadata: {name: c, " + born + "}\ndata: {a: b}\nbinaryData: {c: dg==}", "c|2|5m"},
		"secrets":                    {"Name|Type|Data|Age", "metadata: {name: c, " + born + "}\nstringData: {a: b}", "c|Opaque|1|5m"},
		"serviceaccounts":            {"Name|Age", "metadata: {name: c}", "c|<unknown>"},
		"leases.coordination.k8s.io": {"Name|Holder|Age", "metadata: {name: l, " + born + "}\nspec: {holderIdentity: me}", "l|me|5m"},
	} {
		t.Run(resource, func(t *testing.T) {
			k := kindNamed(t, resource)
			if got := headOf(k); got != c.head {
				t.Errorf("columns\n got %s\nwant %s", got, c.head)
			}
			if got := cellsOf(k, c.object, t); got != c.row {
				t.Errorf("row\n got %s\nwant %s", got, c.row)
			}
		})
	}
}

func TestPodStatusColumn(t *testing.T) {
	const (
		two     = "spec: {containers: [{name: a}, {name: b}]}\n"
		inits   = "spec: {initContainers: [{name: i}, {name: j}], containers: [{name: a}]}\n"
		sidecar = "spec: {initContainers: [{name: s, restartPolicy: Always}], containers: [{name: a}]}\n"
		up      = "{name: a, ready: true, state: {running: {}}}"
		died    = "restartCount: 3, lastState: {terminated: {finishedAt: '2026-01-01T12:00:00Z'}}"
	)
	for name, c := range map[string]struct{ pod, want string }{
		"pending":          {two + "status: {phase: Pending}", "0/2 Pending 0"},
		"creating":         {two + "status: {phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}]}", "0/2 ContainerCreating 0"},
		"running":          {two + "status: {phase: Running, containerStatuses: [" + up + ", {name: b, ready: true, state: {running: {}}}]}", "2/2 Running 0"},
		"crash loop":       {two + "status: {phase: Running, containerStatuses: [{name: a, " + died + ", state: {waiting: {reason: CrashLoopBackOff}}}, {name: b, ready: true, state: {running: {}}}]}", "1/2 CrashLoopBackOff 3 (5m ago)"},
		"first trouble":    {two + "status: {phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ErrImagePull}}}, {name: b, state: {waiting: {reason: ContainerCreating}}}]}", "0/2 ErrImagePull 0"},
		"completed":        {two + "status: {phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, state: {terminated: {reason: Completed}}}]}", "0/2 Completed 0"},
		"one completed":    {two + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}", "1/2 Running 0"},
		"not ready":        {two + "status: {phase: Running, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}", "1/2 NotReady 0"},
		"killed":           {two + "status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {signal: 9}}}]}", "0/2 Signal:9 0"},
		"exit code":        {two + "status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 4}}}]}", "0/2 ExitCode:4 0"},
		"evicted":          {two + "status: {phase: Failed, reason: Evicted}", "0/2 Evicted 0"},
		"gated":            {two + "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}", "0/2 SchedulingGated 0"},
		"init progress":    {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}, {name: j, state: {running: {}}}]}", "0/1 Init:1/2 0"},
		"init crash":       {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, " + died + ", state: {waiting: {reason: CrashLoopBackOff}}}]}", "0/1 Init:CrashLoopBackOff 3 (5m ago)"},
		"init error":       {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 1, reason: Error}}}]}", "0/1 Init:Error 0"},
		"init exit code":   {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 1}}}]}", "0/1 Init:ExitCode:1 0"},
		"init initialises": {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {waiting: {reason: PodInitializing}}}]}", "0/1 Init:0/2 0"},
		"sidecar":          {sidecar + "status: {phase: Running, initContainerStatuses: [{name: s, ready: true, started: true, restartCount: 2, state: {running: {}}}], containerStatuses: [" + up + "]}", "2/2 Running 2"},
		"terminating":      {"metadata: {deletionTimestamp: '2026-01-01T12:00:00Z'}\n" + two + "status: {phase: Running}", "0/2 Terminating 0"},
		"ended and going":  {"metadata: {deletionTimestamp: '2026-01-01T12:00:00Z'}\n" + two + "status: {phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}]}", "0/2 Completed 0"},
		"node lost":        {"metadata: {deletionTimestamp: '2026-01-01T12:00:00Z'}\n" + two + "status: {phase: Running, reason: NodeLost}", "0/2 Unknown 0"},
	} {
		t.Run(name, func(t *testing.T) {
			cells := podRow(load(t, "pods", c.pod).(*corev1.Pod), noon)
			if got := fmt.Sprintf("%v %v %v", cells[1], cells[2], cells[3]); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestServiceAddressColumns(t *testing.T) {
	k := kindNamed(t, "services")
	for text, want := range map[string]string{
		"spec: {type: LoadBalancer, clusterIP: 10.0.0.1}":                                                            "10.0.0.1 <pending>",
		"spec: {type: LoadBalancer}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: a.b}]}}":          "<none> 192.0.2.1,a.b",
		"spec: {type: ExternalName, externalName: a.b}":                                                              "<none> a.b",
		"spec: {clusterIP: None, clusterIPs: [None], externalIPs: [192.0.2.1, 192.0.2.2]}":                           "None 192.0.2.1,192.0.2.2",
		"spec: {type: LoadBalancer, externalIPs: [192.0.2.9]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}": "<none> 192.0.2.1,192.0.2.9",
	} {
		cells := k.Row(load(t, "services", text), noon)
		if got := fmt.Sprint(cells[2], " ", cells[3]); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestJobStatusColumn(t *testing.T) {
	k := kindNamed(t, "jobs.batch")
	for text, want := range map[string]string{
		"status: {succeeded: 1, conditions: [{type: Complete, status: 'True'}], startTime: '2026-01-01T12:00:00Z', completionTime: '2026-01-01T12:00:09Z'}": "Complete 1/1 9s",
		"status: {conditions: [{type: Failed, status: 'True'}]}":                                           "Failed 0/1 ",
		"spec: {suspend: true, parallelism: 3}\nstatus: {conditions: [{type: Suspended, status: 'True'}]}": "Suspended 0/1 of 3 ",
	} {
		cells := k.Row(load(t, "jobs.batch", text), noon)
		if got := fmt.Sprintf("%v %v %v", cells[1], cells[2], cells[3]); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
