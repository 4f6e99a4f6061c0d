package agent

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// applySecurity sets user, groups and privileges from the image and the security contexts; the
// container's own wins over the pod's.
func applySecurity(spec *runtime.ContainerSpec, pod *corev1.Pod, c *corev1.Container, img *Image) error {
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
	for _, g := range psc.SupplementalGroups {
		spec.AdditionalGIDs = append(spec.AdditionalGIDs, uint32(g))
	}
	if psc.FSGroup != nil {
		spec.AdditionalGIDs = append(spec.AdditionalGIDs, uint32(*psc.FSGroup))
	}
	spec.Privileged = isTrue(sc.Privileged)
	spec.ReadOnlyRootfs = isTrue(sc.ReadOnlyRootFilesystem)
	spec.NoNewPrivileges = sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation
	if caps := sc.Capabilities; caps != nil {
		spec.CapAdd, spec.CapDrop = capNames(caps.Add), capNames(caps.Drop)
	}
	return nil
}

func applyUser(spec *runtime.ContainerSpec, psc *corev1.PodSecurityContext, sc *corev1.SecurityContext, img *Image) error {
	user := img.User
	if uid := first(sc.RunAsUser, psc.RunAsUser); uid != nil {
		user = strconv.FormatInt(*uid, 10)
	}
	if img.ResolveUser != nil {
		uid, gid, groups, err := img.ResolveUser(user)
		if err != nil {
			return fmt.Errorf("resolving the image's user %q: %w", user, err)
		}
		spec.UID, spec.GID, spec.AdditionalGIDs = uid, gid, append([]uint32(nil), groups...)
	} else if n, err := strconv.ParseUint(user, 10, 32); err == nil {
		spec.UID = uint32(n)
	}
	if gid := first(sc.RunAsGroup, psc.RunAsGroup); gid != nil {
		spec.GID = uint32(*gid)
	}
	return nil
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
