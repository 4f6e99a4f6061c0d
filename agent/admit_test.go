package agent

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func TestSysctlsRefused(t *testing.T) {
	a := &Agent{cfg: Config{UnsafeSysctls: []string{"kernel.msg*", "net.core.somaxconn"}}}
	for _, c := range []struct {
		name, forbidden string
		set             func(*corev1.PodSpec)
	}{
		{name: "kernel.shm_rmid_forced"},
		{name: "net/ipv4/tcp_syncookies"},
		{name: "kernel.msgmax"},
		{name: "kernel/msgmnb"},
		{name: "net.core.somaxconn"},
		{name: "net.core.somaxconn2", forbidden: `forbidden sysctl: "net.core.somaxconn2" not allowlisted`},
		{name: "kernel.sem", forbidden: `forbidden sysctl: "kernel.sem" not allowlisted`},
		{name: "vm.swappiness", forbidden: `forbidden sysctl: "vm.swappiness" not allowlisted`},
		{name: "net.ipv4.tcp_syncookies", set: func(s *corev1.PodSpec) { s.HostNetwork = true }, forbidden: `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled`},
		{name: "kernel.shm_rmid_forced", set: func(s *corev1.PodSpec) { s.HostIPC = true }, forbidden: `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled`},
		{name: "net.ipv4.tcp_syncookies", set: func(s *corev1.PodSpec) { s.HostIPC = true }},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: c.name}}}}}
		if c.set != nil {
			c.set(&pod.Spec)
		}
		if got := a.refuseSysctls(pod); got != c.forbidden {
			t.Errorf("%s: %q, want %q", c.name, got, c.forbidden)
		}
	}
	if got := dotted("net/ipv4/conf/eth0.100/rp_filter"); got != "net.ipv4.conf.eth0/100.rp_filter" {
		t.Errorf("read as %s", got)
	}
}

func TestAsksAppArmor(t *testing.T) {
	of := func(kind corev1.AppArmorProfileType) *corev1.AppArmorProfile {
		return &corev1.AppArmorProfile{Type: kind}
	}
	def, none := of(corev1.AppArmorProfileTypeRuntimeDefault), of(corev1.AppArmorProfileTypeUnconfined)
	for name, c := range map[string]struct {
		pod, container, ephemeral *corev1.AppArmorProfile
		privileged, want          bool
	}{
		"nothing": {}, "pod": {pod: def, want: true}, "container": {container: def, want: true}, "overruled": {pod: def, container: none},
		"unconfined": {pod: none}, "privileged": {pod: def, privileged: true}, "ephemeral": {ephemeral: def, want: true},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{AppArmorProfile: c.pod},
			Containers: []corev1.Container{{SecurityContext: &corev1.SecurityContext{AppArmorProfile: c.container, Privileged: &c.privileged}}}}}
		if c.ephemeral != nil {
			pod = debugged(pod, "look")
			pod.Spec.EphemeralContainers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: c.ephemeral}
		}
		if got := asksAppArmor(pod); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !profileLoaded("a (enforce)\nb c (complain)\n", "b c") || profileLoaded("abc (enforce)\n", "ab") {
		t.Error("the kernel's list of profiles is not read")
	}
}

func TestSecurityOfContainers(t *testing.T) {
	a := &Agent{cfg: Config{DataDir: "/data"}}
	img := &Image{User: "bob", ResolveUser: func(string) (uint32, uint32, []uint32, error) { return 10, 20, []uint32{30, 40}, nil }}
	local := func(p string) *corev1.SeccompProfile {
		return &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &p}
	}
	def := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	for name, c := range map[string]struct {
		pod   corev1.PodSecurityContext
		own   corev1.SecurityContext
		check func(s *runtime.ContainerSpec) bool
		fails bool
	}{
		"image": {check: func(s *runtime.ContainerSpec) bool {
			return s.UID == 10 && s.GID == 20 && slices.Equal(s.AdditionalGIDs, []uint32{20, 30, 40}) && s.Seccomp == ""
		}},
		"merge": {pod: corev1.PodSecurityContext{FSGroup: ptr.To[int64](50), SupplementalGroups: []int64{30, 60}}, check: func(s *runtime.ContainerSpec) bool {
			return slices.Equal(s.AdditionalGIDs, []uint32{20, 30, 40, 50, 60})
		}},
		"strict": {pod: corev1.PodSecurityContext{FSGroup: ptr.To[int64](50), SupplementalGroups: []int64{60}, SupplementalGroupsPolicy: ptr.To(corev1.SupplementalGroupsPolicyStrict)},
			check: func(s *runtime.ContainerSpec) bool { return slices.Equal(s.AdditionalGIDs, []uint32{20, 50, 60}) }},
		"group":        {pod: corev1.PodSecurityContext{RunAsGroup: ptr.To[int64](0)}, check: func(s *runtime.ContainerSpec) bool { return s.GID == 0 && s.AdditionalGIDs[0] == 0 }},
		"pod's filter": {pod: corev1.PodSecurityContext{SeccompProfile: def}, check: func(s *runtime.ContainerSpec) bool { return s.Seccomp == runtime.ProfileDefault }},
		"own filter": {pod: corev1.PodSecurityContext{SeccompProfile: def}, own: corev1.SecurityContext{SeccompProfile: local("a/b.json")},
			check: func(s *runtime.ContainerSpec) bool { return s.Seccomp == "/data/seccomp/a/b.json" }},
		"privileged": {pod: corev1.PodSecurityContext{SeccompProfile: def}, own: corev1.SecurityContext{Privileged: ptr.To(true)},
			check: func(s *runtime.ContainerSpec) bool { return s.Seccomp == "" && s.Privileged }},
		"outside":  {own: corev1.SecurityContext{SeccompProfile: local("../x")}, fails: true},
		"absolute": {own: corev1.SecurityContext{SeccompProfile: local("/x")}, fails: true},
		"unmasked": {own: corev1.SecurityContext{ProcMount: ptr.To(corev1.UnmaskedProcMount)}, check: func(s *runtime.ContainerSpec) bool { return s.UnmaskedProc }},
	} {
		spec := runtime.ContainerSpec{}
		pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &c.pod}}
		err := a.applySecurity(&spec, pod, &corev1.Container{SecurityContext: &c.own}, img)
		if (err != nil) != c.fails || err == nil && !c.check(&spec) {
			t.Errorf("%s: %+v, %v", name, spec, err)
		}
	}
}

func TestMountOptions(t *testing.T) {
	for name, c := range map[string]struct {
		vm     corev1.VolumeMount
		kernel bool
		want   runtime.Mount
		status *corev1.RecursiveReadOnlyMode
		fails  bool
	}{
		"plain":           {},
		"read-only":       {vm: corev1.VolumeMount{ReadOnly: true}, status: ptr.To(corev1.RecursiveReadOnlyDisabled)},
		"enabled":         {vm: corev1.VolumeMount{ReadOnly: true, RecursiveReadOnly: ptr.To(corev1.RecursiveReadOnlyEnabled)}, kernel: true, want: runtime.Mount{RecursiveReadOnly: true}, status: ptr.To(corev1.RecursiveReadOnlyEnabled)},
		"enabled, old":    {vm: corev1.VolumeMount{ReadOnly: true, RecursiveReadOnly: ptr.To(corev1.RecursiveReadOnlyEnabled)}, fails: true},
		"if possible":     {vm: corev1.VolumeMount{ReadOnly: true, RecursiveReadOnly: ptr.To(corev1.RecursiveReadOnlyIfPossible)}, kernel: true, want: runtime.Mount{RecursiveReadOnly: true}, status: ptr.To(corev1.RecursiveReadOnlyEnabled)},
		"impossible":      {vm: corev1.VolumeMount{ReadOnly: true, RecursiveReadOnly: ptr.To(corev1.RecursiveReadOnlyIfPossible)}, status: ptr.To(corev1.RecursiveReadOnlyDisabled)},
		"from the host":   {vm: corev1.VolumeMount{MountPropagation: ptr.To(corev1.MountPropagationHostToContainer)}, want: runtime.Mount{Propagation: runtime.PropagateFromHost}},
		"both directions": {vm: corev1.VolumeMount{MountPropagation: ptr.To(corev1.MountPropagationBidirectional)}, want: runtime.Mount{Propagation: runtime.PropagateBoth}},
	} {
		a := &Agent{cfg: Config{RecursiveReadOnly: c.kernel}}
		var m runtime.Mount
		err := a.mountOptions(&m, &c.vm)
		if (err != nil) != c.fails || m != c.want {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		st := a.volumeMountStatus(&corev1.Container{VolumeMounts: []corev1.VolumeMount{c.vm}})[0].RecursiveReadOnly
		if !ptr.Equal(st, c.status) {
			t.Errorf("%s: its status is %v", name, st)
		}
	}
}

func TestKernelHostname(t *testing.T) {
	a := &Agent{cfg: Config{ClusterDomain: "c.l"}}
	pod := func(set func(*corev1.PodSpec)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "name", Namespace: "ns"}}
		set(&p.Spec)
		return p
	}
	for want, p := range map[string]*corev1.Pod{
		"name":             pod(func(s *corev1.PodSpec) {}),
		"h":                pod(func(s *corev1.PodSpec) { s.Hostname, s.Subdomain = "h", "sub" }),
		"h.sub.ns.svc.c.l": pod(func(s *corev1.PodSpec) { s.Hostname, s.Subdomain, s.SetHostnameAsFQDN = "h", "sub", ptr.To(true) }),
		"other.name": pod(func(s *corev1.PodSpec) {
			s.Hostname, s.Subdomain, s.HostnameOverride = "h", "sub", ptr.To("other.name")
		}),
		"name.s.ns.svc.c.l": pod(func(s *corev1.PodSpec) { s.Subdomain, s.SetHostnameAsFQDN = "s", ptr.To(true) }),
	} {
		if got, err := a.kernelHostname(p); got != want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	long := pod(func(s *corev1.PodSpec) {
		s.Hostname, s.Subdomain, s.SetHostnameAsFQDN = strings.Repeat("h", 60), "sub", ptr.To(true)
	})
	if _, err := a.kernelHostname(long); err == nil || !strings.Contains(err.Error(), "is too long (64 characters is the max, 75 characters requested)") {
		t.Errorf("a name that is too long: %v", err)
	}
}

func TestRefusedByTheNode(t *testing.T) {
	a := &Agent{}
	for _, c := range []struct {
		spec   corev1.PodSpec
		reason string
	}{
		{corev1.PodSpec{}, ""},
		{corev1.PodSpec{OS: &corev1.PodOS{Name: corev1.Linux}}, ""},
		{corev1.PodSpec{OS: &corev1.PodOS{Name: corev1.Windows}}, "PodOSNotSupported"},
		{corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu"}}}, "DevicesNotSupported"},
	} {
		if reason, message := a.refuse(&corev1.Pod{Spec: c.spec}); reason != c.reason || (message == "") != (reason == "") {
			t.Errorf("%+v is refused for %q: %q; want %q", c.spec, reason, message, c.reason)
		}
	}
}

func TestWhoAsksForSELinux(t *testing.T) {
	level := &corev1.SELinuxOptions{Level: "s0"}
	for want, specs := range map[bool][]corev1.PodSpec{
		false: {{}, {SecurityContext: &corev1.PodSecurityContext{}, Containers: []corev1.Container{{SecurityContext: &corev1.SecurityContext{}}}}},
		true: {{SecurityContext: &corev1.PodSecurityContext{SELinuxOptions: level}},
			{InitContainers: []corev1.Container{{SecurityContext: &corev1.SecurityContext{SELinuxOptions: level}}}}},
	} {
		for _, s := range specs {
			if got := asksSELinux(&corev1.Pod{Spec: s}); got != want {
				t.Errorf("%+v: %v", s, got)
			}
		}
	}
}
