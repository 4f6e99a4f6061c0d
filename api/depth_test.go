package api

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// deepPod uses what goodPod does not.
const deepPod = `
metadata: {name: deep, labels: {app: a, rev: r}}
spec:
  os: {name: linux}
  serviceAccountName: robot
  resourceClaims: [{name: gpu, resourceClaimTemplateName: gpus}]
  volumes:
  - {name: env, emptyDir: {}}
  - {name: claim, persistentVolumeClaim: {claimName: c}}
  - {name: own, projected: {sources: [{clusterTrustBundle: {name: roots, path: roots.pem}}, {podCertificate: {signerName: example.com/s, keyType: ED25519, keyPath: key.pem}}]}}
  - {name: picture, image: {reference: 'i:1'}}
  initContainers:
  - {name: write, image: i}
  - {name: side, image: i, restartPolicy: Always, startupProbe: {grpc: {port: 1}}, lifecycle: {preStop: {sleep: {seconds: 3}}}, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]}
  containers:
  - name: main
    image: i
    restartPolicy: Never
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]
    env: [{name: A, valueFrom: {fileKeyRef: {volumeName: env, path: vars.env, key: A}}}, {name: M, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}]
    envFrom: [{prefix: P_, configMapRef: {name: c}}]
    lifecycle: {stopSignal: SIGUSR1}
    resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]
    resources: {limits: {memory: 1Gi, hugepages-2Mi: 4Mi}, claims: [{name: gpu, request: one}]}
    volumeDevices: [{name: claim, devicePath: /dev/x}]
    volumeMounts: [{name: env, mountPath: /env, readOnly: true, recursiveReadOnly: Enabled}]
    securityContext: {procMount: Default, seccompProfile: {type: RuntimeDefault}, appArmorProfile: {type: Localhost, localhostProfile: p}}
  securityContext: {fsGroupChangePolicy: Always, supplementalGroupsPolicy: Strict, seLinuxChangePolicy: Recursive, sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}]}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: a}}, matchLabelKeys: [rev]}]
  affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {}, matchLabelKeys: [rev], mismatchLabelKeys: [app]}]}}
`

func TestPodsInDepth(t *testing.T) {
	const c = "spec.containers[0]"
	runBad(t, "pods", deepPod, []badObject{
		// What a container asks for.
		{"claim of no pod", []string{"name: gpu, request: one", "name: tpu"}, []string{c + `.resources.claims[0]: Not found: "tpu": must be one of the names in pod.spec.resourceClaims: gpu`}},
		{"claim of none", []string{"resourceClaims: [{name: gpu, resourceClaimTemplateName: gpus}]", "hostname: h"}, []string{c + `.resources.claims[0]: Not found: "gpu": must be one of the names in pod.spec.resourceClaims which is empty`}},
		{"claim unnamed", []string{"name: gpu, request: one", "name: ''"}, []string{c + ".resources.claims[0]: Required value"}},
		{"claim twice", []string{"{name: gpu, request: one}", "{name: gpu}, {name: gpu}"}, []string{c + `.resources.claims[1]: Duplicate value: "gpu"`}},
		{"claim request", []string{"request: one", "request: One"}, []string{c + `.resources.claims[0].request: Invalid value: "One"`}},
		{"half a huge page", []string{"hugepages-2Mi: 4Mi", "hugepages-2Mi: 3Mi"}, []string{
			c + ".resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
			c + ".resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\"",
		}},
		{"huge pages alone", []string{"memory: 1Gi, ", ""}, []string{c + ".resources: Forbidden: HugePages require cpu or memory"}},
		{"resize policy twice", []string{"resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]\n", "resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: NotRequired}]\n"}, []string{c + `.resizePolicy[1]: Duplicate value: "cpu"`}},
		{"resize policy of a pod that never restarts", []string{"resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]\n", "resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]\n", "  os:", "  restartPolicy: Never\n  os:"}, []string{c + ".resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"}},
		{"resize policy of an init container", []string{"{name: write, image: i}", "{name: write, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]}"}, []string{"spec.initContainers[0].resizePolicy: Invalid value"}},
		// When it restarts.
		{"rules without a policy", []string{"    restartPolicy: Never\n", ""}, []string{c + ".restartPolicy: Required value: must specify restartPolicy when restart rules are used"}},
		{"own policy", []string{"    restartPolicy: Never\n", "    restartPolicy: Maybe\n"}, []string{c + `.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"`}},
		{"rule without action", []string{"action: Restart, ", ""}, []string{c + ".restartPolicyRules[0].action: Required value"}},
		{"rule without codes", []string{", exitCodes: {operator: In, values: [42]}", ""}, []string{c + ".restartPolicyRules[0].exitCodes: Required value: must be specified"}},
		{"rule operator", []string{"operator: In", "operator: Is"}, []string{c + `.restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"`}},
		{"rule codes", []string{"values: [42]", "values: [" + strings.Repeat("1,", 255) + "1]"}, []string{c + ".restartPolicyRules[0].exitCodes.values: Too many: 256: must have at most 255 items"}},
		{"rules", []string{"restartPolicyRules: [", "restartPolicyRules: [" + strings.Repeat("{action: Restart, exitCodes: {operator: In}}, ", 20)}, []string{c + ".restartPolicyRules: Too many: 21: must have at most 20 items"}},
		// What ends it, and what looks after it.
		{"signal", []string{"SIGUSR1", "SIGFUN"}, []string{c + `.lifecycle.stopSignal: Unsupported value: "SIGFUN"`}},
		{"signal of no system", []string{"os: {name: linux}", "hostname: h"}, []string{c + ".lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"}},
		{"real-time signal", []string{"SIGUSR1", "SIGRTMIN+15"}, nil},
		{"signal past the middle", []string{"SIGUSR1", "SIGRTMAX-15"}, []string{c + ".lifecycle.stopSignal: Unsupported value"}},
		{"sleep longer than the grace", []string{"seconds: 3", "seconds: 31"}, []string{"spec.initContainers[1].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"}},
		{"init containers have no life", []string{"{name: write, image: i}", "{name: write, image: i, lifecycle: {}, readinessProbe: {}}"}, []string{
			"spec.initContainers[0].lifecycle: Forbidden", "spec.initContainers[0].readinessProbe: Forbidden",
		}},
		// Its environment.
		{"file of no volume", []string{"volumeName: env", "volumeName: x"}, []string{c + `.env[0].valueFrom.fileKeyRef.volumeName: Not found: "x"`}},
		{"file of a claim", []string{"volumeName: env", "volumeName: claim"}, []string{c + `.env[0].valueFrom.fileKeyRef.volumeName: Invalid value: "claim": referenced volume must be of type emptyDir`}},
		{"file climbs out", []string{"path: vars.env", "path: ../x"}, []string{c + `.env[0].valueFrom.fileKeyRef.path: Invalid value: "../x": must not contain '..'`}},
		{"file key", []string{"key: A}", "key: 'A=B'}"}, []string{c + `.env[0].valueFrom.fileKeyRef.key: Invalid value: "A=B"`}},
		{"file without key", []string{", key: A}", "}"}, []string{c + ".env[0].valueFrom.fileKeyRef.key: Required value"}},
		{"divisor", []string{"divisor: 1Mi", "divisor: 2"}, []string{c + `.env[1].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.memory": only divisor's values 1, 1k,`}},
		{"resource of nothing", []string{"limits.memory", "hopes.hugepages-2Mi"}, []string{c + `.env[1].valueFrom.resourceFieldRef.resource: Unsupported value: "hopes.hugepages-2Mi"`}},
		{"huge pages told", []string{"limits.memory", "limits.hugepages-2Mi"}, nil},
		{"prefix", []string{"prefix: P_", "prefix: 'P='"}, []string{c + `.envFrom[0].prefix: Invalid value: "P="`}},
		// Where it mounts.
		{"device is a mount", []string{"name: claim, devicePath: /dev/x", "name: claim, devicePath: /env"}, []string{
			c + `.volumeMounts[0].mountPath: Invalid value: "/env": must not already exist as a path in volumeDevices`,
			c + `.volumeDevices[0].devicePath: Invalid value: "/env": must not already exist as a path in volumeMounts`,
		}},
		{"device and mount of one volume", []string{"name: env, mountPath: /env", "name: claim, mountPath: /env"}, []string{
			c + `.volumeMounts[0].name: Invalid value: "claim": must not already exist in volumeDevices`,
			c + `.volumeDevices[0].name: Invalid value: "claim": must not already exist in volumeMounts`,
		}},
		{"device twice", []string{"volumeDevices: [", "volumeDevices: [{name: claim, devicePath: /dev/x}, "}, []string{
			c + `.volumeDevices[1].name: Invalid value: "claim": must be unique`, c + `.volumeDevices[1].devicePath: Invalid value: "/dev/x": must be unique`,
		}},
		{"device climbs", []string{"/dev/x", "/dev/../x"}, []string{c + `.volumeDevices[0].devicePath: Invalid value: "/dev/../x": can not contain backsteps ('..')`}},
		{"device of no claim", []string{"name: claim, devicePath", "name: picture, devicePath"}, []string{c + `.volumeDevices[0].name: Invalid value: "picture": can only use volume source type of`}},
		{"read-only only above", []string{"readOnly: true, ", ""}, []string{c + ".volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true"}},
		{"read-only and propagated", []string{"recursiveReadOnly: Enabled", "recursiveReadOnly: Enabled, mountPropagation: HostToContainer"}, []string{c + ".volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified"}},
		// How it is confined.
		{"unmasked", []string{"procMount: Default", "procMount: Unmasked"}, []string{c + ".securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"}},
		{"unmasked with own users", []string{"procMount: Default", "procMount: Unmasked", "    volumeDevices: [{name: claim, devicePath: /dev/x}]\n", "", "  os:", "  hostUsers: false\n  os:"}, nil},
		{"own users and the host", []string{"  os:", "  hostUsers: false\n  hostNetwork: true\n  hostPID: true\n  hostIPC: true\n  os:", "  securityContext: {fsGroup", "  shareProcessNamespace: false\n  securityContext: {fsGroup", ", sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}]", ""}, []string{
			"spec.hostNetwork: Forbidden: when `hostUsers` is false", "spec.HostPID: Forbidden: when `hostUsers` is false",
			"spec.HostIPC: Forbidden: when `hostUsers` is false", c + ".volumeDevices: Forbidden: when `hostUsers` is false",
		}},
		{"seccomp without type", []string{"seccompProfile: {type: RuntimeDefault}", "seccompProfile: {}"}, []string{c + ".securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set"}},
		{"seccomp type", []string{"seccompProfile: {type: RuntimeDefault}", "seccompProfile: {type: Mine}"}, []string{c + `.securityContext.seccompProfile.type: Unsupported value: "Mine": supported values: "Localhost", "RuntimeDefault", "Unconfined"`}},
		{"seccomp file", []string{"type: RuntimeDefault", "type: Localhost, localhostProfile: /x"}, []string{c + `.securityContext.seccompProfile.localhostProfile: Invalid value: "/x": must be a relative path`}},
		{"seccomp file of no use", []string{"type: RuntimeDefault", "type: RuntimeDefault, localhostProfile: x"}, []string{c + ".securityContext.seccompProfile.localhostProfile: Invalid value: {"}},
		{"armour without file", []string{", localhostProfile: p", ""}, []string{c + ".securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost"}},
		{"armour padded", []string{"localhostProfile: p", "localhostProfile: ' p'"}, []string{c + `.securityContext.appArmorProfile.localhostProfile: Invalid value: " p": must not be padded with whitespace`}},
		{"escalation", []string{"procMount: Default", "allowPrivilegeEscalation: false, capabilities: {add: [CAP_SYS_ADMIN]}"}, []string{c + ".securityContext: Invalid value"}},
		{"escalation by a name that the runtime shortens", []string{"procMount: Default", "allowPrivilegeEscalation: false, capabilities: {add: [SYS_ADMIN]}"}, nil},
		// The pod as a whole.
		{"groups policy", []string{"supplementalGroupsPolicy: Strict", "supplementalGroupsPolicy: Lax"}, []string{`spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Lax": supported values: "Merge", "Strict"`}},
		{"group change", []string{"fsGroupChangePolicy: Always", "fsGroupChangePolicy: Never"}, []string{`spec.securityContext.fsGroupChangePolicy: Unsupported value: "Never": supported values: "Always", "OnRootMismatch"`}},
		{"label change", []string{"seLinuxChangePolicy: Recursive", "seLinuxChangePolicy: Rarely"}, []string{`spec.securityContext.seLinuxChangePolicy: Unsupported value: "Rarely": supported values: "MountOption", "Recursive"`}},
		{"sysctl of the host's network", []string{"  os:", "  hostNetwork: true\n  os:"}, []string{`spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_syncookies": may not be specified when 'hostNetwork' is true`}},
		{"sysctl in slashes", []string{"net.ipv4.tcp_syncookies", "net/ipv4/tcp_syncookies", "  os:", "  hostNetwork: true\n  os:"}, []string{`spec.securityContext.sysctls[0].name: Invalid value: "net/ipv4/tcp_syncookies": may not be`}},
		{"sysctl of the host's messages", []string{"net.ipv4.tcp_syncookies", "kernel.shm_rmid_forced", "  os:", "  hostIPC: true\n  os:"}, []string{`spec.securityContext.sysctls[0].name: Invalid value: "kernel.shm_rmid_forced": may not be specified when 'hostIPC' is true`}},
		{"spread key", []string{"matchLabelKeys: [rev]}]\n  affinity", "matchLabelKeys: ['no key']}]\n  affinity"}, []string{`spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: "no key"`}},
		{"spread keys without selector", []string{"labelSelector: {matchLabels: {app: a}}, ", ""}, []string{"spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"}},
		{"affinity keys without selector", []string{"labelSelector: {}, ", ""}, []string{
			"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
			"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].mismatchLabelKeys: Forbidden",
		}},
		{"affinity key on both sides", []string{"mismatchLabelKeys: [app]", "mismatchLabelKeys: [rev]"}, []string{`spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[0]: Invalid value: "rev": exists in both matchLabelKeys and mismatchLabelKeys`}},
		{"affinity namespace", []string{"labelSelector: {}, ", "labelSelector: {}, namespaces: [Not_Ok], "}, []string{`spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace: Invalid value: "Not_Ok"`}},
		{"claims twice", []string{"resourceClaims: [", "resourceClaims: [{name: gpu, resourceClaimName: x}, "}, []string{`spec.resourceClaims[1].name: Duplicate value: "gpu"`}},
		{"claim from nowhere", []string{", resourceClaimTemplateName: gpus", ""}, []string{"spec.resourceClaims[0]: Invalid value"}},
		{"claim from two places", []string{"resourceClaimTemplateName: gpus", "resourceClaimTemplateName: gpus, resourceClaimName: x"}, []string{"spec.resourceClaims[0]: Invalid value"}},
		{"claim name", []string{"resourceClaimTemplateName: gpus", "resourceClaimName: Not_Ok"}, []string{`spec.resourceClaims[0].resourceClaimName: Invalid value: "Not_Ok"`}},
		{"claim's final name", []string{"{name: deep,", "{name: " + strings.Repeat("a", 250) + ","}, []string{"spec.resourceClaims[0].name: Invalid value: \"" + strings.Repeat("a", 250) + "-gpu\": final ResourceClaim name: must be no more than 253"}},
		{"host name", []string{"  os:", "  hostnameOverride: " + strings.Repeat("a.", 32) + "a\n  setHostnameAsFQDN: true\n  os:"}, []string{
			"spec.hostnameOverride: Too long: may not be more than 64", "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
		}},
		{"negative grace is old", []string{"  os:", "  terminationGracePeriodSeconds: -1\n  os:", ", lifecycle: {preStop: {sleep: {seconds: 3}}}", ""}, nil},
		{"preemption", []string{"  os:", "  preemptionPolicy: Often\n  os:"}, []string{`spec.preemptionPolicy: Unsupported value: "Often": supported values: "PreemptLowerPriority", "Never"`}},
		{"overhead", []string{"  os:", "  overhead: {x: 1}\n  os:"}, []string{
			`spec.overhead.limits[x]: Invalid value: "x": must be a standard resource type or fully qualified`, `spec.overhead.limits[x]: Invalid value: "x": must be a standard resource for containers`}},
		// Operating systems.
		{"no system", []string{"os: {name: linux}", "os: {name: ''}"}, []string{"spec.os.name: Required value: cannot be empty", c + ".lifecycle.stopSignal: Forbidden"}},
		{"unknown system", []string{"os: {name: linux}", "os: {name: plan9}"}, []string{`spec.os: Unsupported value: "plan9": supported values: "linux", "windows"`}},
		{"windows options", []string{"procMount: Default", "windowsOptions: {}"}, []string{c + ".securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"}},
		{"windows", []string{"os: {name: linux}", "os: {name: windows}", "SIGUSR1", "SIGTERM"}, []string{
			"spec.securityContext.fsGroupChangePolicy: Forbidden: cannot be set for a windows pod",
			"spec.securityContext.supplementalGroupsPolicy: Forbidden", "spec.securityContext.seLinuxChangePolicy: Forbidden", "spec.securityContext.sysctls: Forbidden",
			c + ".securityContext.procMount: Forbidden", c + ".securityContext.seccompProfile: Forbidden", c + ".securityContext.appArmorProfile: Forbidden",
		}},
		// Volumes.
		{"trust of nobody", []string{"name: roots, ", ""}, []string{"spec.volumes[2].projected.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified"}},
		{"trust twice", []string{"name: roots, ", "name: roots, signerName: example.com/s, "}, []string{"spec.volumes[2].projected.sources[0].clusterTrustBundle: Invalid value"}},
		{"trust by name and labels", []string{"name: roots, ", "name: roots, labelSelector: {}, "}, []string{"spec.volumes[2].projected.sources[0].clusterTrustBundle.labelSelector: Invalid value: {}: labelSelector must be unset if name is specified"}},
		{"trust by signer", []string{"name: roots, ", "signerName: nobody, "}, []string{`spec.volumes[2].projected.sources[0].clusterTrustBundle.signerName: Invalid value: "nobody": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
		{"trust without path", []string{", path: roots.pem", ""}, []string{"spec.volumes[2].projected.sources[0].clusterTrustBundle.path: Required value"}},
		{"key type", []string{"keyType: ED25519", "keyType: DSA"}, []string{`spec.volumes[2].projected.sources[1].podCertificate.keyType: Unsupported value: "DSA": supported values: "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"`}},
		{"certificate nowhere", []string{", keyPath: key.pem", ""}, []string{"spec.volumes[2].projected.sources[1].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath"}},
		{"certificate life", []string{"keyPath: key.pem", "keyPath: key.pem, maxExpirationSeconds: 60"}, []string{"spec.volumes[2].projected.sources[1].podCertificate.maxExpirationSeconds: Invalid value: 60: if provided, maxExpirationSeconds must be >= 3600"}},
		{"certificate of Kubernetes", []string{"example.com/s, keyType: ED25519", "kubernetes.io/s, maxExpirationSeconds: 100000, keyType: ED25519"}, []string{"spec.volumes[2].projected.sources[1].podCertificate.maxExpirationSeconds: Invalid value: 100000: if provided, maxExpirationSeconds must be <= 86400"}},
		{"what the signer is told", []string{"keyPath: key.pem", "keyPath: key.pem, userAnnotations: {bare: x}"}, []string{"spec.volumes[2].projected.sources[1].podCertificate.userAnnotations[bare]: Invalid value"}},
		{"files on each other", []string{"key.pem", "roots.pem"}, []string{`spec.volumes[2].projected: Invalid value: "roots.pem": conflicting duplicate paths`}},
		{"two in one", []string{"clusterTrustBundle: {name: roots, path: roots.pem}", "clusterTrustBundle: {name: roots, path: roots.pem}, secret: {name: s}"}, []string{"spec.volumes[2].projected.sources[0]: Forbidden: may not specify more than 1 volume type"}},
		{"picture of nothing", []string{"{reference: 'i:1'}", "{}"}, []string{"spec.volumes[3].image.reference: Required value"}},
		{"token of nobody", []string{"  serviceAccountName: robot\n", "", "clusterTrustBundle: {name: roots, path: roots.pem}", "serviceAccountToken: {path: t}"}, []string{"spec.volumes[2].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"}},
	})
}

// Templates may lack what a pod must have, because admission or a controller adds it.
func TestTemplatesAreCheckedLess(t *testing.T) {
	template := "metadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n" +
		"      hostNetwork: true\n      volumes: [{name: a, image: {}}, {name: b, projected: {sources: [{serviceAccountToken: {path: t}}]}}]\n" +
		"      containers: [{name: main, image: ' nginx', ports: [{containerPort: 80}]}]\n"
	runBad(t, "deployments.apps", template, []badObject{
		{"port of the host", []string{"containerPort: 80", "containerPort: 80, hostPort: 81"}, []string{"spec.template.spec.containers[0].ports[0].containerPort: Invalid value"}},
		{"deletion cost", []string{"labels: {app: web}", "labels: {app: web}, annotations: {controller.kubernetes.io/pod-deletion-cost: x}"}, []string{"spec.template.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"x\": must be a 32bit integer"}},
	})
	d := load(t, "deployments.apps", template)
	if b, _ := yaml.Marshal(d); strings.Contains(string(b), "hostPort") {
		t.Error("the template of a deployment was given a port of the host")
	}
}

func TestHostProcesses(t *testing.T) {
	const good = `
metadata: {name: a}
spec:
  os: {name: windows}
  hostNetwork: true
  securityContext: {windowsOptions: {hostProcess: true, runAsUserName: 'NT AUTHORITY\SYSTEM'}}
  containers: [{name: a, image: b}, {name: c, image: d, securityContext: {windowsOptions: {hostProcess: true}}}]
`
	const user = "spec.securityContext.windowsOptions.runAsUserName: Invalid value"
	runBad(t, "pods", good, []badObject{
		{"other network", []string{"hostNetwork: true", "hostname: h"}, []string{"spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"}},
		{"contradiction", []string{"{hostProcess: true}}}]", "{hostProcess: false}}}]"}, []string{
			"spec.containers[1].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
			`spec: Invalid value: "": If pod contains any hostProcess containers then all containers must be HostProcess containers`,
		}},
		{"mixture", []string{"hostProcess: true, ", ""}, []string{`spec: Invalid value: "": If pod contains any hostProcess containers`}},
		{"user", []string{`NT AUTHORITY\SYSTEM`, `a\b\c`}, []string{user + `: "a\\b\\c": runAsUserName cannot contain more than one backslash`}},
		{"no user", []string{`NT AUTHORITY\SYSTEM`, ``}, []string{user + `: "": runAsUserName cannot be an empty string`}},
		{"user of dots", []string{`NT AUTHORITY\SYSTEM`, `...`}, []string{user + `: "...": runAsUserName's User cannot contain only periods or spaces`}},
		{"user of signs", []string{`NT AUTHORITY\SYSTEM`, `a*`}, []string{user + `: "a*": runAsUserName's User cannot contain the following characters`}},
		{"long domain", []string{`NT AUTHORITY\SYSTEM`, strings.Repeat("a", 256) + `\b`}, []string{user}},
		{"credentials", []string{"hostProcess: true, ", "hostProcess: true, gmsaCredentialSpecName: Not_Ok, gmsaCredentialSpec: '', "}, []string{
			`spec.securityContext.windowsOptions.gmsaCredentialSpecName: Invalid value: "Not_Ok"`,
			`spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string`,
		}},
		{"what is Linux's", []string{"hostNetwork: true", "hostNetwork: true\n  hostPID: true\n  shareProcessNamespace: false\n  resources: {limits: {cpu: 1}}"}, []string{
			"spec.hostPID: Forbidden: cannot be set for a windows pod", "spec.shareProcessNamespace: Forbidden", "spec.resources: Forbidden: may not be set for a windows pod",
		}},
	})
}

func TestPodLevelResources(t *testing.T) {
	const good = "metadata: {name: a}\nspec: {resources: {requests: {cpu: 2}, limits: {cpu: 3, memory: 1Gi}}, containers: [{name: a, image: b, resources: {requests: {cpu: 1}}}, {name: c, image: d}]}"
	runBad(t, "pods", good, []badObject{
		{"more than the pod asks", []string{"{requests: {cpu: 1}}}, {", "{requests: {cpu: 2500m}}}, {"}, []string{`spec.resources.requests[cpu]: Invalid value: "2": must be greater than or equal to aggregate container requests of 2500m`}},
		{"more than the pod may", []string{"{requests: {cpu: 1}}}, {", "{requests: {cpu: 1}, limits: {cpu: 4}}}, {"}, []string{`spec.containers[0].resources.limits[cpu]: Invalid value: "4": must be less than or equal to pod limits of 3`}},
		{"storage", []string{"limits: {cpu: 3,", "limits: {ephemeral-storage: 3,"}, []string{`spec.resources.limits: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"`}},
		{"claims", []string{"resources: {requests: {cpu: 2}", "resources: {claims: [{name: x}], requests: {cpu: 2}"}, []string{"spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level"}},
	})
	for _, c := range []struct{ name, spec, want string }{
		{"sum of the containers", "resources: {limits: {cpu: 3}}, containers: [{name: a, image: b, resources: {requests: {cpu: 1}}}, {name: c, image: d, resources: {requests: {cpu: 1}}}]", "limits: {cpu: 3}, requests: {cpu: 2}"},
		{"the limit", "resources: {limits: {cpu: 3}}, containers: [{name: a, image: b}]", "limits: {cpu: 3}, requests: {cpu: 3}"},
		{"nothing", "resources: {}, containers: [{name: a, image: b, resources: {requests: {cpu: 1}}}]", ""},
		{"huge pages of the containers", "resources: {requests: {cpu: 1}}, containers: [{name: a, image: b, resources: {limits: {cpu: 1, hugepages-2Mi: 4Mi}}}]", "limits: {hugepages-2Mi: 4Mi}, requests: {cpu: 1, hugepages-2Mi: 4Mi}"},
	} {
		t.Run("default "+c.name, func(t *testing.T) {
			p := load(t, "pods", "spec: {"+c.spec+"}").(*corev1.Pod)
			var want corev1.ResourceRequirements
			if err := yaml.Unmarshal([]byte("{"+c.want+"}"), &want); err != nil {
				t.Fatal(err)
			}
			sameYAML(t, &corev1.Pod{Spec: corev1.PodSpec{Resources: p.Spec.Resources}}, string(yamlOf(t, &corev1.Pod{Spec: corev1.PodSpec{Resources: &want}})))
		})
	}
}

func yamlOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestQOSClassSums(t *testing.T) {
	for resources, want := range map[string]corev1.PodQOSClass{
		"{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 0}}": corev1.PodQOSBurstable,
		"{requests: {cpu: 0}, limits: {memory: 0}}":           corev1.PodQOSBestEffort,
	} {
		pod := load(t, "pods", "spec: {containers: [{name: a, image: b, resources: "+resources+"}]}").(*corev1.Pod)
		if got := QOSClass(pod); got != want {
			t.Errorf("%s: %s, want %s", resources, got, want)
		}
	}
}

func TestLabelKeysAreMerged(t *testing.T) {
	p := load(t, "pods", deepPod).(*corev1.Pod)
	kindNamed(t, "pods").PrepareForCreate(p)
	got := string(yamlOf(t, []any{p.Spec.TopologySpreadConstraints[0].LabelSelector, p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector}))
	want := `
- matchExpressions:
  - key: rev
    operator: In
    values:
    - r
  matchLabels:
    app: a
- matchExpressions:
  - key: rev
    operator: In
    values:
    - r
  - key: app
    operator: NotIn
    values:
    - a
`
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	sameFaults(t, kindNamed(t, "pods").Validate(p))
}

// Fields of features that are off are not stored, unless they were before.
func TestDisabledPodFieldsAreDropped(t *testing.T) {
	const spec = `
metadata: {name: a}
spec:
  schedulingGroup: {podGroupName: g}
  evictionResponders: [{name: example.com/r, priority: 1}]
  volumes:
  - {name: e, emptyDir: {mode: 511}}
  - {name: s, secret: {secretName: s, defaultUser: 1, items: [{key: a, path: a, user: 2}]}}
  - {name: p, projected: {defaultUser: 1, sources: [{downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}, user: 2}]}}, {serviceAccountToken: {path: t, user: 3}}]}}
  containers:
  - {name: a, image: b, volumeMounts: [{name: e, mountPath: /e, bindMountOptions: [noexec]}], livenessProbe: {grpc: {port: 1, mode: TLS}}, readinessProbe: {httpGet: {port: 1, protocol: HTTP2}}}
`
	const what = "schedulingGroup evictionResponders user: defaultUser mode: bindMountOptions protocol: HTTP2"
	k := kindNamed(t, "pods")
	p := load(t, "pods", spec).(*corev1.Pod)
	old := p.DeepCopy()
	k.PrepareForCreate(p)
	text := strings.ReplaceAll(string(yamlOf(t, p.Spec)), "defaultMode:", "")
	for _, name := range strings.Fields(what) {
		if strings.Contains(text, name) {
			t.Errorf("%s is left in\n%s", name, text)
		}
	}
	same := old.DeepCopy()
	k.PrepareForUpdate(same, old)
	if diff := cmp.Diff(old.Spec, same.Spec); diff != "" {
		t.Errorf("fields in use were dropped (-want +got)\n%s", diff)
	}
	k.PrepareForUpdate(old, p)
	if diff := cmp.Diff(p.Spec, old.Spec); diff != "" {
		t.Errorf("an update brought fields in (-want +got)\n%s", diff)
	}
}

func TestJobStatus(t *testing.T) {
	const spec = "metadata: {name: a, uid: u}\nspec:\n  completionMode: Indexed\n  completions: 10\n  backoffLimitPerIndex: 1\n  template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}\n"
	const done = "startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T01:00:00Z', conditions: [{type: SuccessCriteriaMet, status: 'True'}, {type: Complete, status: 'True'}]"
	k := kindNamed(t, "jobs.batch")
	for _, c := range []struct {
		name, old, now string
		want           []string
	}{
		{"running", "", "active: 2, ready: 1, startTime: '2026-01-01T00:00:00Z', completedIndexes: '0,2-4', failedIndexes: '1'", nil},
		{"done", "", done, nil},
		{"nothing new", "active: 1, ready: 2", "active: 1, ready: 2", nil},
		{"below zero", "", "active: -1, succeeded: -2, failed: -3, ready: -4, terminating: -5", []string{
			"status.active: Invalid value: -1", "status.succeeded: Invalid value: -2", "status.failed: Invalid value: -3", "status.ready: Invalid value: -4", "status.terminating: Invalid value: -5",
			"status.failed: Invalid value: -3: cannot decrease the failed counter", "status.succeeded: Invalid value: -2: cannot decrease the succeeded counter",
		}},
		{"ready and not active", "", "active: 1, ready: 2", []string{"status.ready: Invalid value: 2: cannot set more ready pods than active"}},
		{"done and active", "", done + ", active: 1, terminating: 1", []string{"status.active: Invalid value: 1: active>0 is invalid for finished job", "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job"}},
		{"done at no time", "", "conditions: [{type: SuccessCriteriaMet, status: 'True'}, {type: Complete, status: 'True'}]", []string{
			"status.completionTime: Required value: completionTime is required for Complete jobs", "status.startTime: Required value: startTime is required for finished job",
		}},
		{"time and not done", "", "completionTime: '2026-01-01T01:00:00Z'", []string{"status.completionTime: Invalid value: \"2026-01-01T01:00:00Z\": cannot set completionTime when there is no Complete=True condition"}},
		{"done before it began", "", strings.Replace(done, "completionTime: '2026", "completionTime: '2025", 1), []string{"status.completionTime: Invalid value: \"2025-01-01T01:00:00Z\": completionTime cannot be set before startTime"}},
		{"done without a word before", "", strings.Replace(done, "{type: SuccessCriteriaMet, status: 'True'}, ", "", 1), []string{"status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition"}},
		{"failed without a word before", "", "startTime: '2026-01-01T00:00:00Z', conditions: [{type: Failed, status: 'True'}]", []string{"status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"}},
		{"done and failed", "", strings.Replace(done, "[", "[{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True'}, ", 1), []string{
			"status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions", "status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions",
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions", "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
		}},
		{"undone", done, "startTime: '2026-01-01T00:00:00Z'", []string{
			"status.conditions: Invalid value: cannot disable the terminal Complete=True condition", "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
		}},
		{"begun again", "startTime: '2026-01-01T00:00:00Z'", "startTime: '2026-01-02T00:00:00Z'", []string{"status.startTime: Required value: startTime cannot be removed for unsuspended job"}},
		{"not begun", "startTime: '2026-01-01T00:00:00Z'", "active: 1", []string{"status.startTime: Required value: startTime cannot be removed for unsuspended job"}},
		{"fewer have failed", "failed: 2, succeeded: 3", "failed: 1, succeeded: 2", []string{
			"status.failed: Invalid value: 1: cannot decrease the failed counter", "status.succeeded: Invalid value: 2: cannot decrease the succeeded counter"}},
		{"completed at another time", done, strings.Replace(done, "T01:00", "T02:00", 1), []string{`status.completionTime: Invalid value: "2026-01-01T02:00:00Z": completionTime cannot be mutated`}},
		{"old faults stay", "active: 1, " + done, "active: 1, terminating: 0, " + done, nil},
		{"succeeds after its end", "startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T01:00:00Z', conditions: [{type: Complete, status: 'True'}]", done, []string{
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"}},
		{"indexes out of order", "", "completedIndexes: '3,1'", []string{`status.completedIndexes: Invalid value: "3,1": error parsing completedIndexes: non-increasing order, previous: 3, current: 1`}},
		{"index too large", "", "completedIndexes: '5-10'", []string{`status.completedIndexes: Invalid value: "5-10": error parsing completedIndexes: too large index: "10"`}},
		{"no index", "", "failedIndexes: x", []string{`status.failedIndexes: Invalid value: "x": error parsing failedIndexes: cannot convert string to integer for index: "x"`}},
		{"three ends", "", "completedIndexes: '1-2-3'", []string{`status.completedIndexes: Invalid value: "1-2-3": error parsing completedIndexes: the fragment "1-2-3" violates`}},
		{"both ways", "", "completedIndexes: '0-4', failedIndexes: '4-6'", []string{`status.failedIndexes: Invalid value: "4-6": failedIndexes and completedIndexes overlap`}},
		{"uncounted twice", "", "uncountedTerminatedPods: {succeeded: [a, a], failed: ['']}", []string{
			`status.uncountedTerminatedPods.succeeded[1]: Duplicate value: "a"`, `status.uncountedTerminatedPods.failed[0]: Invalid value: "": must not be empty`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, now := load(t, "jobs.batch", spec+"status: {"+c.old+"}"), load(t, "jobs.batch", spec+"status: {"+c.now+"}")
			sameFaults(t, k.ValidateStatusUpdate(now, old), c.want...)
		})
	}
	suspended := strings.Replace(spec, "spec:\n", "spec:\n  suspend: true\n", 1)
	sameFaults(t, k.ValidateStatusUpdate(load(t, "jobs.batch", suspended), load(t, "jobs.batch", suspended+"status: {startTime: '2026-01-01T00:00:00Z'}")))
	elastic := strings.Replace(spec, "completions: 10", "completions: 1\n  parallelism: 1", 1)
	sameFaults(t, k.ValidateStatusUpdate(load(t, "jobs.batch", elastic+"status: {succeeded: 1}"), load(t, "jobs.batch", elastic+"status: {succeeded: 3}")))
	plain := "metadata: {name: a}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}\n"
	sameFaults(t, k.ValidateStatusUpdate(load(t, "jobs.batch", plain+"status: {completedIndexes: '0', failedIndexes: ''}"), load(t, "jobs.batch", plain)),
		`status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode`,
		`status.failedIndexes: Invalid value: "": cannot set non-null failedIndexes when backoffLimitPerIndex is null`)
}

func TestSmallKindsInDepth(t *testing.T) {
	runBad(t, "namespaces", "metadata: {name: a}\nspec: {finalizers: [kubernetes, orphan, example.com/f]}\n", []badObject{
		{"finalizer", []string{"orphan", "mine"}, []string{`spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`}},
		{"finalizer's name", []string{"example.com/f", "'not ok/f'"}, []string{`spec.finalizers: Invalid value: "not ok/f"`}},
	})
	runBad(t, "nodes", "metadata: {name: a}\nspec: {podCIDRs: [10.0.0.0/24], taints: [{key: a, effect: NoSchedule}]}\n", []badObject{
		{"two families", []string{"[10.0.0.0/24]", "[10.0.0.0/24, 'fd00::/64']"}, nil},
		{"one family twice", []string{"[10.0.0.0/24]", "[10.0.0.0/24, 10.0.1.0/24]"}, []string{"spec.podCIDRs: Invalid value"}},
		{"twice the same", []string{"[10.0.0.0/24]", "[10.0.0.0/24, 10.0.0.0/24]"}, []string{`spec.podCIDRs[1]: Duplicate value: "10.0.0.0/24"`}},
		{"preemption", []string{"spec: {", "spec: {podPreemptionPolicy: {}, "}, []string{"spec.podPreemptionPolicy: Forbidden: needs the feature"}},
		{"taint twice", []string{"taints: [", "taints: [{key: a, effect: NoSchedule}, "}, []string{`spec.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}: taints must be unique by key and effect pair`}},
	})
	account := load(t, "serviceaccounts", "metadata: {name: a}\nsecrets: [{name: s, namespace: x, uid: u}]")
	kindNamed(t, "serviceaccounts").PrepareForCreate(account)
	sameYAML(t, account, "metadata:\n  name: a\nsecrets:\n- name: s\n")
}

func TestPodWarnings(t *testing.T) {
	p := load(t, "pods", `
metadata: {name: a, annotations: {container.apparmor.security.beta.kubernetes.io/a: unconfined, seccomp.security.alpha.kubernetes.io/pod: x}}
spec:
  terminationGracePeriodSeconds: -1
  containers: [{name: a, image: b, resources: {limits: {ephemeral-storage: 100m, memory: 100m}}}]
`)
	want := []string{
		`metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the "appArmorProfile" field instead`,
		`metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead`,
		"spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
		`spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`,
		`spec.containers[0].resources.limits[ephemeral-storage]: fractional byte value "100m" is invalid, must be an integer`,
		`spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer`,
		`spec.containers[0].resources.requests[ephemeral-storage]: fractional byte value "100m" is invalid, must be an integer`,
	}
	if diff := cmp.Diff(want, kindNamed(t, "pods").Warnings(p, nil)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSuspendedJobsCanBeDirected(t *testing.T) {
	const job = "metadata: {name: a, uid: u}\nspec:\n  suspend: true\n  completionMode: Indexed\n  completions: 3\n  parallelism: 3\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{name: a, image: b, resources: {requests: {cpu: 1}}}]\n"
	const affinity = "restartPolicy: Never\n      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]}}}"
	prepared := func(edits ...string) *batchv1.Job {
		j := load(t, "jobs.batch", edit(t, job, edits...)).(*batchv1.Job)
		kindNamed(t, "jobs.batch").PrepareForCreate(j)
		return j
	}
	for _, c := range []badObject{
		{"resources", []string{"cpu: 1", "cpu: 2"}, nil},
		{"nodes", []string{"restartPolicy: Never", "restartPolicy: Never\n      nodeSelector: {a: b}\n      tolerations: [{operator: Exists}]\n      schedulingGates: [{name: g}]"}, nil},
		{"affinity", []string{"restartPolicy: Never", affinity}, nil},
		{"affinity to pods", []string{"restartPolicy: Never", strings.Replace(affinity, "{nodeAffinity", "{podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: z}]}, nodeAffinity", 1)}, []string{"spec.template: Invalid value"}},
		{"image", []string{"image: b", "image: c"}, []string{"spec.template: Invalid value"}},
		{"both numbers", []string{"completions: 3\n  parallelism: 3", "completions: 4\n  parallelism: 4"}, nil},
		{"one number", []string{"completions: 3", "completions: 4"}, []string{"spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sameFaults(t, validateJobUpdate(prepared(c.edits...), prepared()), c.want...)
		})
	}
	running := prepared()
	running.Status.StartTime = &metav1.Time{}
	sameFaults(t, validateJobUpdate(prepared("cpu: 1", "cpu: 2"), running), "spec.template: Invalid value")
	sameFaults(t, validateJobUpdate(prepared(), prepared("restartPolicy: Never", affinity)))
}

// TestVolumeOrder: no source is forgotten, since one that is would be checked before all others.
func TestVolumeOrder(t *testing.T) {
	source := reflect.TypeFor[corev1.VolumeSource]()
	for i := range source.NumField() {
		name, _, _ := strings.Cut(source.Field(i).Tag.Get("json"), ",")
		if !slices.Contains(volumeOrder, name) {
			t.Errorf("%s is not in the order of volumes", name)
		}
	}
	if source.NumField() != len(volumeOrder) {
		t.Errorf("%d sources, %d in their order", source.NumField(), len(volumeOrder))
	}
}
