package agent

import (
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safeSysctls are namespaced, isolated and without harm for the node: the list that Kubernetes documents.
var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}

// admit decides whether a pod that is new here may be started at all. One that may not has failed.
func (w *worker) admit() {
	l := w.life
	if l.ending() || l.frozen {
		return
	}
	want := shareOf(l.allocatedPod())
	if l.lived() {
		w.a.room.give(&w.share, want)
		return
	}
	if reason, message := w.a.refuse(l.pod); reason != "" {
		w.reject(reason, message)
	} else if missing := w.a.room.take(&w.share, want); missing != nil {
		w.reject("OutOf"+string(missing.resource), missing.String())
	}
}

// lived says whether anything of the pod was ever begun here.
func (l *life) lived() bool {
	if l.sandbox != sandboxNone {
		return true
	}
	for _, c := range l.conts {
		if c.starts > 0 {
			return true
		}
	}
	return false
}

func (w *worker) reject(reason, message string) {
	l := w.life
	l.doomReason, l.doomMessage = reason, "Pod was rejected: "+message
	w.event(corev1.EventTypeWarning, reason, message, nil)
	w.save()
}

// leaveRoom gives back what a pod had once it has ended, or the cluster has: the scheduler gives it to others no sooner, and at once then.
func (w *worker) leaveRoom() {
	if l := w.life; l.removed || l.quiet() || terminal(l.currentPhase()) {
		w.a.room.leave(&w.share)
	}
}

// refuse says why a pod cannot run on this node at all, as the reason and message of its status; "" if it can.
func (a *Agent) refuse(pod *corev1.Pod) (reason, message string) {
	if m := a.refuseSysctls(pod); m != "" {
		return "SysctlForbidden", m
	}
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return "PodOSNotSupported", fmt.Sprintf("Failed to admit pod as the OS field doesn't match node OS: it asks for %s", os.Name)
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		return "DevicesNotSupported", "the node cannot prepare the devices that spec.resourceClaims asks for"
	}
	if asksAppArmor(pod) && !hasAppArmor() {
		return "AppArmor", noAppArmor
	}
	if asksSELinux(pod) && hasSELinux() {
		return "SELinuxNotSupported", "the node cannot give processes the labels that seLinuxOptions asks for"
	}
	return a.pressed(pod)
}

func (a *Agent) refuseSysctls(pod *corev1.Pod) string {
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return ""
	}
	for _, s := range sc.Sysctls {
		name := dotted(s.Name)
		switch {
		case pod.Spec.HostNetwork && strings.HasPrefix(name, "net."):
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host net enabled", s.Name)
		case pod.Spec.HostIPC && (strings.HasPrefix(name, "kernel.") || strings.HasPrefix(name, "fs.mqueue.")):
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host ipc enabled", s.Name)
		case !listed(safeSysctls, name) && !listed(a.cfg.UnsafeSysctls, name):
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted", s.Name)
		}
	}
	return ""
}

// listed finds a name in a list of names and prefixes.
func listed(list []string, name string) bool {
	for _, l := range list {
		if prefix, ok := strings.CutSuffix(l, "*"); l == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// dotted is a sysctl's name with dots for separators. Where the first separator is a slash, slashes separate and
// a dot belongs to a part, such as an interface's name.
func dotted(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

const noAppArmor = "Cannot enforce AppArmor: AppArmor is not enabled on the host"

// asksAppArmor tells whether a container wants a profile. A privileged one gets none, whatever it wants.
func asksAppArmor(pod *corev1.Pod) bool {
	var of *corev1.AppArmorProfile
	if sc := pod.Spec.SecurityContext; sc != nil {
		of = sc.AppArmorProfile
	}
	for c := range containersOf(pod) {
		p, privileged := of, false
		if sc := c.SecurityContext; sc != nil {
			p, privileged = first(sc.AppArmorProfile, of), isTrue(sc.Privileged)
		}
		if p != nil && p.Type != corev1.AppArmorProfileTypeUnconfined && !privileged {
			return true
		}
	}
	return false
}

// asksSELinux says whether the pod wants labels of SELinux. Where a kernel is without it they mean nothing, as in Kubernetes.
func asksSELinux(pod *corev1.Pod) bool {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.SELinuxOptions != nil {
		return true
	}
	for c := range containersOf(pod) {
		if sc := c.SecurityContext; sc != nil && sc.SELinuxOptions != nil {
			return true
		}
	}
	return false
}

func hasSELinux() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}

func hasAppArmor() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(b), "Y")
}
