package kubectltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// sample says what kubectl shows of the object of a kind that testdata/kinds has. Of tables, one space stands for any number of them.
type sample struct {
	head, row string // as `get -o wide` prints them
	describe  string // an expression for a line of the description
}

// samples are all kinds that can be listed.
var samples = map[string]sample{
	"configmaps":             {"NAME DATA AGE", "sample 1 AGE", `^color:$`},
	"endpoints":              {"NAME ENDPOINTS AGE", "sample 192.0.2.1:80 AGE", `^  Addresses: +192\.0\.2\.1$`},
	"events":                 {"LAST SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST SEEN COUNT NAME", `AGE Normal Sampled configmap/sample sampler a word AGE 1 sample`, `^Reason: +Sampled$`},
	"limitranges":            {"NAME CREATED AT", "sample TIME", `^Container +cpu +- +2 +100m +500m +-$`},
	"persistentvolumeclaims": {"NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE VOLUMEMODE", "sample Pending none-such <unset> AGE Filesystem", `^StorageClass: +none-such$`},
	"pods":                   {"NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES", "sample 0/1 Pending 0 AGE <none> <none> <none> <none>", `^Node-Selectors: +nowhere=true$`},
	"podtemplates":           {"NAME CONTAINERS IMAGES POD LABELS", "sample c peapod/demo a=b", `^ +Image: +peapod/demo$`},
	"replicationcontrollers": {"NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR", "sample 0 0 0 AGE c peapod/demo app=rc", `^Replicas: +0 current / 0 desired$`},
	"resourcequotas":         {"NAME REQUEST LIMIT AGE", `sample (count/bulbs.example.com: 0/3 )?AGE`, `^Resource +Used +Hard$`},
	"secrets":                {"NAME TYPE DATA AGE", "sample Opaque 1 AGE", `^user: +3 bytes$`},
	"serviceaccounts":        {"NAME AGE", "sample AGE", `^Image pull secrets: +<none>$`},
	"services":               {"NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR", `sample ClusterIP 10\.43\.\d+\.\d+ <none> 80/TCP AGE <none>`, `^TargetPort: +8080/TCP$`},

	"controllerrevisions.apps": {"NAME CONTROLLER REVISION AGE", "sample <none> 7 AGE", `^Revision: +7$`},
	"daemonsets.apps":          {"NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE CONTAINERS IMAGES SELECTOR", "sample 0 0 0 0 0 nowhere=true AGE c peapod/demo app=ds", `^Node-Selector: +nowhere=true$`},
	"deployments.apps":         {"NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR", "sample 0/0 0 0 AGE c peapod/demo app=deploy", `^MinReadySeconds: +0$`},
	"replicasets.apps":         {"NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR", "sample 0 0 0 AGE c peapod/demo app=rs", `^Selector: +app=rs$`},
	"statefulsets.apps":        {"NAME READY AGE CONTAINERS IMAGES", "sample 0/0 AGE c peapod/demo", `^Replicas: +0 desired \| 0 total$`},

	"horizontalpodautoscalers.autoscaling": {"NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE", "sample Deployment/sample cpu: <unknown>/80% 1 3 0 AGE", `^Min replicas: +1$`},
	"cronjobs.batch":                       {"NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE CONTAINERS IMAGES SELECTOR", `sample 5 4 \* \* \* <none> True 0 <none> AGE c peapod/demo <none>`, `^Concurrency Policy: +Allow$`},
	"jobs.batch":                           {"NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR", "sample (Suspended|Running) 0/1 AGE c peapod/demo batch.kubernetes.io/controller-uid=UID", `^Suspend: +true$`},
	"leases.coordination.k8s.io":           {"NAME HOLDER AGE", "sample me AGE", `^ +Holder Identity: +me$`},
	"endpointslices.discovery.k8s.io":      {"NAME ADDRESSTYPE PORTS ENDPOINTS AGE", "sample IPv4 80 192.0.2.1 AGE", `^AddressType: +IPv4$`},
	"ingresses.networking.k8s.io":          {"NAME CLASS HOSTS ADDRESS PORTS AGE", "sample sample a.example.com 80 AGE", `^Ingress Class: +sample$`},
	"networkpolicies.networking.k8s.io":    {"NAME POD-SELECTOR AGE", "sample app=policed AGE", `^ +To Port: 80/TCP$`},
	"poddisruptionbudgets.policy":          {"NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE", "sample 1 N/A 0 AGE", `^Min available: +1$`},
	"rolebindings.rbac.authorization.k8s.io": {"NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS", "sample Role/sample AGE ann default/sample",
		`^  ServiceAccount +sample +default$`},
	"roles.rbac.authorization.k8s.io":          {"NAME CREATED AT", "sample TIME", `^  pods +\[\] +\[\] +\[get list\]$`},
	"resourceclaims.resource.k8s.io":           {"NAME STATE AGE", "sample pending AGE", `^ +Device Class Name: +sample$`},
	"resourceclaimtemplates.resource.k8s.io":   {"NAME AGE", "sample AGE", `^ +Device Class Name: +sample$`},
	"csistoragecapacities.storage.k8s.io":      {"NAME STORAGECLASSNAME CAPACITY", "sample sample 5Gi", `^Capacity: +5Gi$`},
	"namespaces":                               {"NAME STATUS AGE", "sample Active AGE", `^No LimitRange resource\.$`},
	"nodes":                                    {"NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME", `client1 Ready \S+ AGE v\S+ 10\.201\S+ <none> .* peapod://\S+`, `^PodCIDR: +10\.42\.`},
	"componentstatuses":                        {"NAME STATUS MESSAGE ERROR", "scheduler Healthy ok", `^ +Message: +ok$`},
	"persistentvolumes":                        {"NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE VOLUMEMODE", "sample 1Gi RWO Retain (Pending|Available) sample-none <unset> AGE Filesystem", `^ +Path: +/nothing$`},
	"priorityclasses.scheduling.k8s.io":        {"NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY", "sample 100 false AGE PreemptLowerPriority", `^Value: +100$`},
	"flowschemas.flowcontrol.apiserver.k8s.io": {"NAME PRIORITYLEVEL MATCHINGPRECEDENCE DISTINGUISHERMETHOD AGE MISSINGPL", `sample sample 9000 ByUser AGE (False|\?)`, `^ +Matching Precedence: +9000$`},
	"prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": {"NAME TYPE NOMINALCONCURRENCYSHARES QUEUES HANDSIZE QUEUELENGTHLIMIT AGE", "sample Limited 7 <none> <none> <none> AGE",
		`^ +Nominal Concurrency Shares: +7$`},
	"certificatesigningrequests.certificates.k8s.io":                 {"NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION", "sample AGE example.com/sampler admin <none> Pending", `^ +Common Name: +ann$`},
	"clustertrustbundles.certificates.k8s.io":                        {"NAME SIGNERNAME", "example.com:sampler:sample example.com/sampler", `^ +Signer Name: +example.com/sampler$`},
	"podcertificaterequests.certificates.k8s.io":                     {"NAME PODNAME SERVICEACCOUNTNAME NODENAME SIGNERNAME STATE", "sample sample sample none-such example.com/sampler Pending", `^ +Pod Name: +sample$`},
	"storageversionmigrations.storagemigration.k8s.io":               {"NAME CREATED AT", "sample TIME", `^ +Resource: +deployments$`},
	"ingressclasses.networking.k8s.io":                               {"NAME CONTROLLER PARAMETERS AGE", "sample example.com/sampler <none> AGE", `^Controller: +example.com/sampler$`},
	"ipaddresses.networking.k8s.io":                                  {"NAME PARENTREF", "192.0.2.77 services/default/sample", `^  Resource: +services$`},
	"servicecidrs.networking.k8s.io":                                 {"NAME CIDRS AGE", "sample 2001:db8:5::/112 AGE", `^CIDRs: +2001:db8:5::/112$`},
	"runtimeclasses.node.k8s.io":                                     {"NAME HANDLER AGE", "sample sampler AGE", `^Handler: +sampler$`},
	"clusterrolebindings.rbac.authorization.k8s.io":                  {"NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS", "sample ClusterRole/sample AGE samplers", `^  Group +samplers`},
	"clusterroles.rbac.authorization.k8s.io":                         {"NAME CREATED AT", "sample TIME", `^  pods +\[\] +\[\] +\[get list\]$`},
	"deviceclasses.resource.k8s.io":                                  {"NAME AGE", "sample AGE", `^ +Expression: +device\.driver == "example\.com"$`},
	"devicetaintrules.resource.k8s.io":                               {"NAME AGE", "sample AGE", `^ +Key: +example\.com/broken$`},
	"resourceslices.resource.k8s.io":                                 {"NAME NODE DRIVER POOL AGE", "sample none-such example.com pool AGE", `^ +Node Name: +none-such$`},
	"csidrivers.storage.k8s.io":                                      {"NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE", "sample false false false <unset> false Persistent AGE", `^ +Fs Group Policy: +ReadWriteOnceWithFSType$`},
	"csinodes.storage.k8s.io":                                        {"NAME DRIVERS AGE", "sample 1 AGE", `^ +Drivers:|^ +sample:`},
	"storageclasses.storage.k8s.io":                                  {"NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE", "sample example.com/sampler Delete Immediate false AGE", `^IsDefaultClass: +No$`},
	"volumeattachments.storage.k8s.io":                               {"NAME ATTACHER PV NODE ATTACHED AGE", "sample sample sample none-such false AGE", `^ +Attached: +false$`},
	"mutatingwebhookconfigurations.admissionregistration.k8s.io":     {"NAME WEBHOOKS AGE", "sample 1 AGE", `^ +Name: +sample.hooks.example.com$`},
	"validatingwebhookconfigurations.admissionregistration.k8s.io":   {"NAME WEBHOOKS AGE", "sample 1 AGE", `^ +Name: +sample.hooks.example.com$`},
	"mutatingadmissionpolicies.admissionregistration.k8s.io":         {"NAME MUTATIONS PARAMKIND AGE", "sample 1 <unset> AGE", `^ +Reinvocation Policy: +Never$`},
	"mutatingadmissionpolicybindings.admissionregistration.k8s.io":   {"NAME POLICYNAME PARAMREF AGE", "sample sample <unset> AGE", `^ +Policy Name: +sample$`},
	"validatingadmissionpolicies.admissionregistration.k8s.io":       {"NAME VALIDATIONS PARAMKIND AGE", "sample 1 <unset> AGE", `^ +Failure Policy: +Fail$`},
	"validatingadmissionpolicybindings.admissionregistration.k8s.io": {"NAME POLICYNAME PARAMREF AGE", "sample sample <unset> AGE", `^ +Policy Name: +sample$`},
	"customresourcedefinitions.apiextensions.k8s.io":                 {"NAME SCOPE VERSIONS CREATED AT GROUP KIND SHORTNAMES ESTABLISHED", `samples\.kinds\.example\.com Namespaced TIME kinds\.example\.com Sample (true|false|<unset>)?`, `^ +Kind: +Sample$`}, // not served, so that it is no kind of its own
	"apiservices.apiregistration.k8s.io":                             {"NAME SERVICE AVAILABLE AGE", `v1\.samples\.example\.com sample/nothing (False \(ServiceNotFound\)|Unknown) AGE`, `^ +Group Priority Minimum: +1000$`},
	"volumeattributesclasses.storage.k8s.io":                         {"NAME DRIVERNAME AGE", "sample example.com AGE", `^Parameters: +speed=fast$`},
}

// given are the objects that every cluster has, of the kinds that testdata/kinds has none of.
var given = map[string]string{"nodes": "client1", "componentstatuses": "scheduler"}

func init() {
	// The same events, by their other group.
	samples["events.events.k8s.io"] = samples["events"]
}

// column makes an expression of a row.
func column(row string) string {
	return "^" + strings.NewReplacer(" ", ` +`, "AGE", `\S+`, "TIME", `\d{4}-\S+Z`, "UID", `[0-9a-f-]{36}`).Replace(row) + ` *$`
}

// certificateRequest is what a client asks a signer to sign, in base64.
func certificateRequest(t *testing.T, name, organization string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: []string{organization}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// kindsFile is a file of testdata/kinds, with what differs from run to run filled in.
func kindsFile(t *testing.T, name string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(kit.Root(), "e2e", "testdata", "kinds", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(replace...).Replace(string(b))
}

// TestEveryKind gets and describes an object of every kind that can be listed, and none of them. A kind without a sample fails it.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	cluster := k.In(kindsFile(t, "cluster.yaml", "REQUEST", certificateRequest(t, "ann", "samplers")))
	cluster.Must(t, "create", "-f", "-")
	t.Cleanup(func() { cluster.Must(t, "delete", "-f", "-", "--wait=false") })
	k.In(kindsFile(t, "namespaced.yaml", "NAMESPACE", k.Namespace)).Must(t, "create", "-f", "-")
	for namespaced, empty := range map[string]string{"true": "No resources found in " + k.Namespace + " namespace.\n", "false": "No resources found\n"} {
		for _, kind := range strings.Fields(k.Must(t, "api-resources", "--verbs=list", "-o", "name", "--namespaced="+namespaced)) {
			if strings.HasSuffix(kind, ".metrics.k8s.io") {
				continue // measured, not made: e2e/podtest has them
			}
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				sampleIsShown(t, k, kind, empty)
			})
		}
	}
}

func sampleIsShown(t *testing.T, k kit.Kubectl, kind, empty string) {
	t.Helper()
	s, ok := samples[kind]
	if !ok {
		t.Fatalf("kind %s has no sample: add an object to e2e/testdata/kinds, and to this file what is shown of it", kind)
	}
	if r := k.Try("get", kind, "-l", "of=nothing"); r.Code != 0 || r.Out != "" || !strings.HasSuffix(r.Err, empty) {
		t.Errorf("none of them: %+v", r)
	}
	which, names := []string{kind, "-l", "of=kinds"}, `(sample|192\.0\.2\.77|example\.com:sampler:sample|samples\.kinds\.example\.com|v1\.samples\.example\.com)`
	if name := given[kind]; name != "" {
		which, names = []string{kind, name}, name
	}
	head := "^" + strings.ReplaceAll(regexp.QuoteMeta(s.head), " ", ` +`) + "$"
	kit.Eventually(t, limit, "the table of "+kind, func() error {
		out := k.Must(t, append([]string{"get", "-o", "wide"}, which...)...)
		if err := kit.Matches(out, head); err != nil {
			return err
		}
		return kit.Matches(out, column(s.row))
	})
	kit.WantMatch(t, k.Must(t, append([]string{"describe"}, which...)...), `^Name: +`+names+`$`, s.describe)
}

// TestExplainEveryKind wants a description of every kind that the server has, those that can only be created too.
func TestExplainEveryKind(t *testing.T) {
	t.Parallel()
	k := kit.Shared(t).Kubectl("")
	for line := range strings.Lines(k.Must(t, "api-resources", "--no-headers", "--sort-by=name")) {
		f := strings.Fields(line)
		resource, version, kind := f[0], f[len(f)-3], f[len(f)-1] // short names may be missing
		t.Run(resource+"."+version, func(t *testing.T) {
			t.Parallel()
			out := k.Must(t, "explain", resource, "--api-version="+version)
			group, v, ok := strings.Cut(version, "/")
			if !ok {
				group, v = "", version
			} else {
				kit.WantMatch(t, out, `^GROUP: +`+group+`$`)
			}
			kit.WantMatch(t, out, `^KIND: +`+kind+`$`, `^VERSION: +`+v+`$`, `^DESCRIPTION:\n    \S`, `^  apiVersion\t<string>$`)
			if regexp.MustCompile(`<empty>|<no value>`).MatchString(out) {
				t.Errorf("a description is missing:\n%s", out)
			}
		})
	}
	kit.WantMatch(t, k.Must(t, "explain", "pods", "--output=plaintext-openapiv2"), `^KIND: +Pod$`, `^DESCRIPTION:$`)
	kit.WantMatch(t, k.Must(t, "explain", "pod.spec.containers.resources.limits"), `^FIELD: limits <map\[string\]Quantity>$`)
}
