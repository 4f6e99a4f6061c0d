package agent

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "B": "$(A)", "EMPTY": ""}
	for in, out := range map[string]string{
		"plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$$(A)": "$(A)", "$$$(A)": "$1", "$(NO)": "$(NO)",
		"$(B)": "$(A)", "$(EMPTY)": "", "$": "$", "$A": "$A", "$(A": "$(A", "a$$b": "a$b", "$$": "$", "$()": "$()", "": "",
	} {
		want(t, "expand "+in, expand(in, values), out)
	}
}

func TestEnvironment(t *testing.T) {
	c := newCluster(t)
	cm := &corev1.ConfigMap{Data: map[string]string{"CM_A": "cm", "bad key": "x"}}
	sec := &corev1.Secret{Data: map[string][]byte{"pw": []byte("bobpwd")}}
	cmBytes, _ := cm.Marshal()
	secBytes, _ := sec.Marshal()
	c.objects["configmaps/default/cm"], c.objects["secrets/default/sec"] = cmBytes, secBytes
	service := func(name, ip string, port int32) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "http", Port: port, Protocol: "TCP"}}}}
	}
	a := New(Config{NodeName: "node1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ControlPlane: c, Services: func(string) []*corev1.Service {
		return []*corev1.Service{service("kubernetes", "10.96.0.1", 443), service("my-db", "10.96.0.9", 5432), service("headless", "None", 80)}
	}})
	pod := podOf("a")
	pod.Labels = map[string]string{"app": "web"}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	spec := &pod.Spec.Containers[0]
	spec.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("1500m")}
	spec.EnvFrom = []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}
	spec.Env = []corev1.EnvVar{
		{Name: "NAME", ValueFrom: field("metadata.name")}, {Name: "IP", ValueFrom: field("status.podIP")},
		{Name: "HOST", ValueFrom: field("status.hostIP")}, {Name: "APP", ValueFrom: field("metadata.labels['app']")},
		{Name: "URL", Value: "http://$(NAME):$(MY_DB_SERVICE_PORT)/$(P_CM_A)/$(LATER)"}, {Name: "LATER", Value: "x"},
		{Name: "PW", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "sec"}, Key: "pw"}}},
		{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory"}}},
		{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		{Name: "PATH", Value: "/mine"},
	}
	s := &start{a: a, pod: pod, spec: spec, ips: []string{"10.1.0.7"}}
	env, err := s.environment(context.Background(), &Image{Env: []string{"PATH=/bin", "IMG=1"}})
	if err != nil {
		t.Fatal(err)
	}
	list := env.list()
	for _, kv := range []string{
		"PATH=/mine", "IMG=1", "HOSTNAME=web", "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTP=443",
		"MY_DB_PORT_5432_TCP_ADDR=10.96.0.9", "MY_DB_PORT=tcp://10.96.0.9:5432", "P_CM_A=cm", "NAME=web", "IP=10.1.0.7", "HOST=192.0.2.1", "APP=web",
		"URL=http://web:5432/cm/$(LATER)", "PW=bobpwd", "MEM=67108864", "CPU=2",
	} {
		if !slices.Contains(list, kv) {
			t.Errorf("%s is missing in %v", kv, list)
		}
	}
	if strings.Contains(strings.Join(list, " "), "HEADLESS") {
		t.Error("a headless service has no variables")
	}
	no := false
	pod.Spec.EnableServiceLinks = &no
	env, err = s.environment(context.Background(), &Image{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "API server without links", env.values["KUBERNETES_SERVICE_HOST"], "10.96.0.1")
	want(t, "links", env.values["MY_DB_SERVICE_HOST"], "")
}

func TestMissingReferences(t *testing.T) {
	c := newCluster(t)
	sec, _ := (&corev1.Secret{Data: map[string][]byte{"a": nil}}).Marshal()
	c.objects["secrets/default/sec"] = sec
	yes := true
	ref := func(name, key string, optional *bool) corev1.EnvVar {
		return corev1.EnvVar{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional}}}
	}
	for _, test := range []struct {
		env  corev1.EnvVar
		want string
	}{
		{ref("no", "a", nil), `secret "no" not found`},
		{ref("sec", "b", nil), `couldn't find key b in Secret default/sec`},
		{ref("no", "a", &yes), ""}, {ref("sec", "b", &yes), ""}, {ref("sec", "a", nil), ""},
	} {
		pod := podOf("a")
		pod.Spec.Containers[0].Env = []corev1.EnvVar{test.env}
		s := &start{a: New(Config{ControlPlane: c}), pod: pod, spec: &pod.Spec.Containers[0]}
		_, err := s.environment(context.Background(), &Image{})
		got := ""
		if err != nil {
			got = err.Error()
		}
		want(t, "error", got, test.want)
	}
}

func TestKernelTerms(t *testing.T) {
	list := func(cpu, mem string) corev1.ResourceList {
		l := corev1.ResourceList{}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if mem != "" {
			l[corev1.ResourceMemory] = resource.MustParse(mem)
		}
		return l
	}
	r := kernelTerms(list("100m", "1Mi"), list("250m", "2Mi"))
	want(t, "shares", r.CPUShares, 102)
	want(t, "quota", r.CPUQuota, 25000)
	want(t, "memory", r.MemoryBytes, 2<<20)
	r = kernelTerms(nil, list("5m", ""))
	want(t, "shares from the limit", r.CPUShares, 5)
	want(t, "least quota", r.CPUQuota, 1000)
	r = kernelTerms(nil, nil)
	want(t, "least shares", r.CPUShares, 2)
	want(t, "no quota", r.CPUQuota, 0)
	want(t, "guaranteed", oomScoreAdj(corev1.PodQOSGuaranteed, resource.MustParse("1"), 1), -997)
	want(t, "best effort", oomScoreAdj(corev1.PodQOSBestEffort, resource.Quantity{}, 1), 1000)
	want(t, "burstable", oomScoreAdj(corev1.PodQOSBurstable, resource.MustParse("1Gi"), 4<<30), 750)
}

func TestSmallRules(t *testing.T) {
	for s, sig := range map[string]syscall.Signal{"": 15, "SIGQUIT": 3, "QUIT": 3, "9": 9, "SIGRTMIN+3": 37, "nonsense": 15} {
		want(t, "signal "+s, parseSignal(s), sig)
	}
	for image, policy := range map[string]corev1.PullPolicy{
		"nginx": "Always", "nginx:latest": "Always", "nginx:1": "IfNotPresent", "reg:5000/nginx": "Always", "reg:5000/x@sha256:0": "IfNotPresent",
	} {
		want(t, image, pullPolicy(&corev1.Container{Image: image}), policy)
	}
	img := &Image{Entrypoint: []string{"/e"}, Cmd: []string{"c"}}
	env := newEnvironment()
	env.set("V", "1")
	for _, c := range []struct {
		command, args []string
		want          string
	}{
		{nil, nil, "/e c"}, {[]string{"x"}, nil, "x"}, {nil, []string{"$(V)"}, "/e 1"}, {[]string{"x"}, []string{"y"}, "x y"},
	} {
		got := commandLine(&corev1.Container{Command: c.command, Args: c.args}, img, env)
		want(t, "command line", strings.Join(got, " "), c.want)
	}
}

func TestEtcFiles(t *testing.T) {
	a := New(Config{DNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, DataDir: t.TempDir()})
	pod := podOf("a")
	pod.Spec.Hostname, pod.Spec.Subdomain = "h", "sub"
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"x", "y"}}}
	if err := a.writeEtc(pod, []netip.Addr{netip.MustParseAddr("10.1.0.7")}); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(a.etcDir(pod) + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, parts := range map[string][]string{
		"hosts":       {"127.0.0.1\tlocalhost", "10.1.0.7\th.sub.default.svc.cluster.local\th\n", "1.2.3.4\tx\ty\n"},
		"hostname":    {"h\n"},
		"resolv.conf": {"search default.svc.cluster.local svc.cluster.local cluster.local", "nameserver 10.96.0.10\n", "options ndots:5\n"},
	} {
		for _, part := range parts {
			if !strings.Contains(read(name), part) {
				t.Errorf("%s lacks %q:\n%s", name, part, read(name))
			}
		}
	}
}

// A pod is told of resolvers of its own families: of another's it would wait for answers that cannot come.
func TestResolversOfAPodsFamilies(t *testing.T) {
	four, six := netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:96::a")
	pod4, pod6 := netip.MustParseAddr("10.1.0.7"), netip.MustParseAddr("fd00:1::7")
	a := New(Config{NodeName: "n1", DNS: []netip.Addr{four, six}})
	for _, c := range []struct{ ips, want []netip.Addr }{
		{[]netip.Addr{pod4, pod6}, []netip.Addr{four, six}},
		{[]netip.Addr{pod4}, []netip.Addr{four}},
		{[]netip.Addr{pod6}, []netip.Addr{six}},
		{nil, []netip.Addr{four, six}},
	} {
		if got := a.resolvers(c.ips); !slices.Equal(got, c.want) {
			t.Errorf("with %v: %v, want %v", c.ips, got, c.want)
		}
	}
	if got := New(Config{NodeName: "n1", DNS: []netip.Addr{four}}).resolvers([]netip.Addr{pod6}); !slices.Equal(got, []netip.Addr{four}) {
		t.Errorf("with no resolver of its family: %v", got)
	}
}

func TestNodeObject(t *testing.T) {
	n := New(Config{NodeName: "n1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Version: "v1"}).NodeObject()
	want(t, "runtime", n.Status.NodeInfo.ContainerRuntimeVersion, "peapod://v1")
	want(t, "hostname label", n.Labels[corev1.LabelHostname], "n1")
	want(t, "pods", n.Status.Capacity.Pods().Value(), 110)
	want(t, "address", n.Status.Addresses[0].Address, "192.0.2.1")
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		c, al := n.Status.Capacity[r], n.Status.Allocatable[r]
		if c.Sign() <= 0 || al.Sign() <= 0 || al.Cmp(c) > 0 {
			t.Errorf("%s: capacity %s, allocatable %s", r, c.String(), al.String())
		}
	}
}

func TestHugePages(t *testing.T) {
	dir := t.TempDir()
	for name, n := range map[string]string{"hugepages-2048kB": "3\n", "hugepages-1048576kB": "0\n", "something": "9\n"} {
		if err := os.MkdirAll(dir+"/"+name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+name+"/nr_hugepages", []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := nodeFacts{memory: 1 << 30, hugePages: hugePages(dir)}
	capacity, allocatable := f.capacity(1), f.allocatable(1)
	pages, giant := capacity["hugepages-2Mi"], capacity["hugepages-1Gi"]
	want(t, "pages", pages.String(), "6Mi")
	want(t, "giant pages", giant.String(), "0")
	want(t, "resources", len(capacity), 6)
	want(t, "memory for others", allocatable.Memory().Value(), int64(1<<30-100<<20-6<<20))
}

// TestStartIsTold: people see in an event when an agent has started.
func TestStartIsTold(t *testing.T) {
	r := newRecorder("n1", nil, false)
	r.started()
	list := r.flush()
	want(t, "events", len(list), 1)
	e := list[0].(*ops.Put).Object.(*corev1.Event)
	if e.InvolvedObject.Kind != "Node" || e.InvolvedObject.Name != "n1" || e.Namespace != "default" || e.Reason != "Starting" || e.Source.Component != "kubelet" {
		t.Errorf("%+v", e)
	}
	quiet := newRecorder("n1", nil, true)
	quiet.started()
	want(t, "events of a quiet node", len(quiet.flush()), 0)
}

func TestRotate(t *testing.T) {
	path := t.TempDir() + "/0.log"
	for i := range 8 {
		if err := os.WriteFile(path, []byte{byte('0' + i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := rotate(path); err != nil {
			t.Fatal(err)
		}
	}
	for i, content := range []string{"7", "6", "5", "4"} {
		b, err := os.ReadFile(path + "." + string(rune('1'+i)))
		if err != nil || string(b) != content {
			t.Errorf("part %d: %q, %v", i+1, b, err)
		}
	}
	if _, err := os.Stat(path + ".5"); !os.IsNotExist(err) {
		t.Error("too many parts are kept")
	}
}

func TestBandwidthAnnotations(t *testing.T) {
	for _, c := range []struct {
		text  string
		bits  uint64
		fault string
	}{
		{"10M", 10_000_000, ""}, {"1Gi", 1 << 30, ""}, {"fast", 0, "is no quantity"}, {"10", 0, "is not between 1k and 1P"}, {"2P", 0, "is not between 1k and 1P"},
	} {
		p := podOf("a")
		p.Annotations = map[string]string{ingressBandwidth: c.text}
		bits, err := bandwidth(p, ingressBandwidth)
		if bits != c.bits || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q gives %d, %v", c.text, bits, err)
		}
	}
	if bits, err := bandwidth(podOf("a"), egressBandwidth); bits != 0 || err != nil {
		t.Errorf("without an annotation: %d, %v", bits, err)
	}
}

// TestBandwidthReachesTheNetwork: the network is told, whatever stands between it and the agent.
func TestBandwidthReachesTheNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newScripted(nil))
		defer w.close()
		p := podOf("a")
		p.Annotations = map[string]string{ingressBandwidth: "10M", egressBandwidth: "1M"}
		w.put(p)
		w.after(time.Second)
		w.cluster.mu.Lock()
		defer w.cluster.mu.Unlock()
		if got := fmt.Sprint(w.cluster.shaped); got != "[uid-1 10000000 1000000]" {
			t.Errorf("the network was told %s", got)
		}
	})
}
