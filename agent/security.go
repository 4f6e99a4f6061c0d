package agent

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// applySecurity sets user, groups and privileges from the image and the security contexts; the
// container's own wins over the pod's.
func (a *Agent) applySecurity(spec *runtime.ContainerSpec, pod *corev1.Pod, c *corev1.Container, img *Image) error {
	psc, sc := pod.Spec.SecurityContext, c.SecurityContext
	if psc == nil {
		psc = &corev1.PodSecurityContext{}
	}
	if sc == nil {
		sc = &corev1.SecurityContext{}
	}
	if err := applyUser(spec, psc, sc, img); err != nil {
		return err
	}
	if nonRoot := first(sc.RunAsNonRoot, psc.RunAsNonRoot); nonRoot != nil && *nonRoot && spec.UID == 0 {
		return errors.New("container has runAsNonRoot and image will run as root")
	}
	spec.Privileged = isTrue(sc.Privileged)
	spec.ReadOnlyRootfs = isTrue(sc.ReadOnlyRootFilesystem)
	spec.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
	spec.UnmaskedProc = sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount
	if caps := sc.Capabilities; caps != nil {
		spec.CapAdd, spec.CapDrop = capNames(caps.Add), capNames(caps.Drop)
	}
	if spec.Privileged {
		return nil // neither filter nor profile, whatever the pod says
	}
	var err error
	if spec.Seccomp, err = a.seccomp(first(sc.SeccompProfile, psc.SeccompProfile)); err != nil {
		return err
	}
	spec.AppArmor, err = a.apparmor(first(sc.AppArmorProfile, psc.AppArmorProfile))
	return err
}

// seccomp names a profile as the executor wants it. Profiles of the node's are below DataDir/seccomp. Without a word from
// the pod there is no filter, as in Kubernetes.
func (a *Agent) seccomp(p *corev1.SeccompProfile) (string, error) {
	if p == nil || p.Type == corev1.SeccompProfileTypeUnconfined {
		return "", nil
	}
	if p.Type == corev1.SeccompProfileTypeRuntimeDefault {
		return runtime.ProfileDefault, nil
	}
	if p.LocalhostProfile == nil || !filepath.IsLocal(*p.LocalhostProfile) {
		return "", errors.New("localhostProfile must be set to a path below the node's directory of seccomp profiles if seccompProfile type is Localhost")
	}
	return filepath.Join(a.cfg.DataDir, "seccomp", *p.LocalhostProfile), nil
}

// apparmor is the name of a profile that the kernel has loaded. A node without AppArmor runs only pods that do not ask
// for it (admit.go); its own default profile it has only if somebody loads one of that name.
func (a *Agent) apparmor(p *corev1.AppArmorProfile) (string, error) {
	if p == nil || p.Type == corev1.AppArmorProfileTypeUnconfined {
		return "", nil
	}
	name := apparmorDefault
	if p.Type == corev1.AppArmorProfileTypeLocalhost {
		if p.LocalhostProfile == nil || *p.LocalhostProfile == "" {
			return "", errors.New("localhostProfile must be set if AppArmor profile type is Localhost")
		}
		name = *p.LocalhostProfile
	}
	if !hasAppArmor() { // admission has not seen a container that came later
		return "", errors.New(noAppArmor)
	}
	loaded, err := os.ReadFile(apparmorLoaded)
	if err != nil {
		return "", fmt.Errorf("reading the AppArmor profiles of this node: %w", err)
	}
	if !profileLoaded(string(loaded), name) {
		return "", fmt.Errorf("apparmor profile not found %s", name)
	}
	return name, nil
}

// Where the kernel lists the profiles it has, one a line: "name (enforce)". apparmorDefault is the name under which
// a node's administrator loads what RuntimeDefault means there.
const (
	apparmorLoaded  = "/sys/kernel/security/apparmor/profiles"
	apparmorDefault = "peapod-default"
)

func profileLoaded(list, name string) bool {
	for line := range strings.Lines(list) {
		if mode := strings.LastIndex(line, " ("); mode >= 0 && line[:mode] == name {
			return true
		}
	}
	return false
}

// applyUser sets user and groups. The groups that the image gives the user come along unless the pod's policy is Strict.
func applyUser(spec *runtime.ContainerSpec, psc *corev1.PodSecurityContext, sc *corev1.SecurityContext, img *Image) error {
	user := img.User
	if uid := first(sc.RunAsUser, psc.RunAsUser); uid != nil {
		user = strconv.FormatInt(*uid, 10)
	}
	var groups []uint32
	if img.ResolveUser != nil {
		uid, gid, listed, err := img.ResolveUser(user)
		if err != nil {
			return fmt.Errorf("resolving the image's user %q: %w", user, err)
		}
		spec.UID, spec.GID, groups = uid, gid, listed
	} else if n, err := strconv.ParseUint(user, 10, 32); err == nil {
		spec.UID = uint32(n)
	}
	if gid := first(sc.RunAsGroup, psc.RunAsGroup); gid != nil {
		spec.GID = uint32(*gid)
	}
	if img.ResolveUser == nil {
		return leaveUser(spec, user, psc, sc)
	}
	spec.AdditionalGIDs = supplementary(spec.GID, groups, psc)
	return nil
}

// supplementary are the primary group, those of the image (policy Merge), those of the pod and its fsGroup, each once.
func supplementary(gid uint32, image []uint32, psc *corev1.PodSecurityContext) []uint32 {
	out := []uint32{gid}
	add := func(g uint32) {
		if !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	if p := psc.SupplementalGroupsPolicy; p == nil || *p != corev1.SupplementalGroupsPolicyStrict {
		for _, g := range image {
			add(g)
		}
	}
	if psc.FSGroup != nil {
		add(uint32(*psc.FSGroup))
	}
	for _, g := range psc.SupplementalGroups {
		add(uint32(g))
	}
	return out
}

// linuxUser is the identity of a container's first process, for its status.
func linuxUser(spec *runtime.ContainerSpec) *corev1.ContainerUser {
	u := &corev1.LinuxContainerUser{UID: int64(spec.UID), GID: int64(spec.GID)}
	for _, g := range spec.AdditionalGIDs {
		u.SupplementalGroups = append(u.SupplementalGroups, int64(g))
	}
	return &corev1.ContainerUser{Linux: u}
}

// leaveUser has the executor look the user and its groups up in the image, which it keeps itself.
func leaveUser(spec *runtime.ContainerSpec, user string, psc *corev1.PodSecurityContext, sc *corev1.SecurityContext) error {
	name, _, _ := strings.Cut(user, ":")
	n, err := strconv.ParseUint(name, 10, 32)
	if err == nil {
		spec.UID = uint32(n)
	}
	nonRoot := first(sc.RunAsNonRoot, psc.RunAsNonRoot)
	if err != nil && name != "" && nonRoot != nil && *nonRoot {
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root", name)
	}
	if p := psc.SupplementalGroupsPolicy; p != nil && *p == corev1.SupplementalGroupsPolicyStrict {
		return errors.New("SupplementalGroupsPolicy=Strict is not supported in this node")
	}
	if psc.FSGroup != nil {
		spec.AdditionalGIDs = append(spec.AdditionalGIDs, uint32(*psc.FSGroup))
	}
	for _, g := range psc.SupplementalGroups {
		spec.AdditionalGIDs = append(spec.AdditionalGIDs, uint32(g))
	}
	gid := first(sc.RunAsGroup, psc.RunAsGroup)
	switch {
	case gid != nil && name == "":
		spec.User = fmt.Sprintf("0:%d", *gid)
	case gid != nil:
		spec.User = fmt.Sprintf("%s:%d", name, *gid)
	case first(sc.RunAsUser, psc.RunAsUser) != nil:
		spec.User = name
	}
	return nil
}

// containersOf are all containers of a pod, the ephemeral ones too: whatever holds for a container holds for them.
func containersOf(pod *corev1.Pod) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
		for i := range pod.Spec.EphemeralContainers {
			if !yield(ephemeralSpec(pod, i)) {
				return
			}
		}
	}
}

// anyPrivileged says whether a container is privileged that the pod has when its sandbox is made.
func anyPrivileged(pod *corev1.Pod) bool {
	for c := range containersOf(pod) {
		if sc := c.SecurityContext; sc != nil && isTrue(sc.Privileged) {
			return true
		}
	}
	return false
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func isTrue(b *bool) bool { return b != nil && *b }

func capNames(in []corev1.Capability) []string {
	out := make([]string, len(in))
	for i, c := range in {
		out[i] = strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_")
	}
	return out
}

// parseSignal reads "SIGQUIT", "QUIT" or "3"; what it cannot read is TERM.
func parseSignal(s string) syscall.Signal {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if rt, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok {
		if n, err := strconv.Atoi(rt); err == nil && n >= 0 && n <= 30 {
			return syscall.Signal(34 + n)
		}
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig
	}
	return syscall.SIGTERM
}
