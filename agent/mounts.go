package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// hostname is the pod's name in the files of its /etc and in its DNS records.
func hostname(pod *corev1.Pod) string {
	if o := pod.Spec.HostnameOverride; o != nil {
		return *o
	}
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	if len(name) > 63 { // the kernel takes 64 bytes, a DNS label 63
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}

// kernelHostname is the name that the pod's processes read: with setHostnameAsFQDN the full one, on the node's
// network the node's.
func (a *Agent) kernelHostname(pod *corev1.Pod) (string, error) {
	const most = 64 // bytes, the kernel's limit
	switch full := a.fqdn(pod); {
	case pod.Spec.HostNetwork:
		return os.Hostname()
	case !isTrue(pod.Spec.SetHostnameAsFQDN) || full == "":
		return hostname(pod), nil
	case len(full) > most:
		return "", fmt.Errorf("Failed to construct FQDN from Pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", full, most, len(full))
	default:
		return full, nil
	}
}

// fqdn is the pod's full name, or "" if it has no subdomain.
func (a *Agent) fqdn(pod *corev1.Pod) string {
	if pod.Spec.Subdomain == "" || pod.Spec.HostnameOverride != nil {
		return ""
	}
	return fmt.Sprintf("%s.%s.%s.svc.%s", hostname(pod), pod.Spec.Subdomain, pod.Namespace, a.cfg.ClusterDomain)
}

// writeEtc writes the files that stand for /etc/hosts, /etc/hostname and /etc/resolv.conf in the pod.
func (a *Agent) writeEtc(pod *corev1.Pod, ips []netip.Addr) error {
	if a.cfg.DataDir == "" {
		return nil
	}
	dir := a.etcDir(pod)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	hosts, err := a.hostsFile(pod, ips)
	if err != nil {
		return err
	}
	resolv, err := a.resolvConf(pod, ips)
	if err != nil {
		return err
	}
	host, err := a.kernelHostname(pod)
	if err != nil {
		return err
	}
	for name, b := range map[string][]byte{"hosts": hosts, "resolv.conf": resolv, "hostname": []byte(host + "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) etcDir(pod *corev1.Pod) string {
	return filepath.Join(a.cfg.DataDir, "pods", string(pod.UID), "etc")
}

func (a *Agent) hostsFile(pod *corev1.Pod, ips []netip.Addr) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by Peapod.\n")
	if pod.Spec.HostNetwork {
		own, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		b.Write(own)
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
		b.WriteString("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		names := hostname(pod)
		if f := a.fqdn(pod); f != "" {
			names = f + "\t" + names
		}
		for _, ip := range ips {
			fmt.Fprintf(&b, "%s\t%s\n", ip, names)
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
	}
	for _, h := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, strings.Join(h.Hostnames, "\t"))
	}
	return b.Bytes(), nil
}

// resolver settings.
type resolvSettings struct{ servers, searches, options []string }

func (a *Agent) resolvConf(pod *corev1.Pod, ips []netip.Addr) ([]byte, error) {
	s, err := a.resolvBase(pod, ips)
	if err != nil {
		return nil, err
	}
	if c := pod.Spec.DNSConfig; c != nil {
		s.servers = append(s.servers, c.Nameservers...)
		s.searches = append(s.searches, c.Searches...)
		for _, o := range c.Options {
			opt := o.Name
			if o.Value != nil {
				opt += ":" + *o.Value
			}
			s.options = slices.DeleteFunc(s.options, func(old string) bool {
				name, _, _ := strings.Cut(old, ":")
				return name == o.Name
			})
			s.options = append(s.options, opt)
		}
	}
	var b bytes.Buffer
	if len(s.searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(unique(s.searches), " "))
	}
	for _, n := range unique(s.servers) {
		fmt.Fprintf(&b, "nameserver %s\n", n)
	}
	if len(s.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(s.options, " "))
	}
	return b.Bytes(), nil
}

func unique(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// resolvBase is what the pod's dnsPolicy says, before dnsConfig.
func (a *Agent) resolvBase(pod *corev1.Pod, ips []netip.Addr) (resolvSettings, error) {
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSNone {
		return resolvSettings{}, nil
	}
	host, err := hostResolv()
	if err != nil {
		return host, err
	}
	cluster := policy == corev1.DNSClusterFirstWithHostNet || policy != corev1.DNSDefault && !pod.Spec.HostNetwork
	if !cluster || len(a.cfg.DNS) == 0 {
		return host, nil
	}
	s := resolvSettings{options: []string{"ndots:5"}}
	for _, d := range a.resolvers(ips) {
		s.servers = append(s.servers, d.String())
	}
	dom := a.cfg.ClusterDomain
	s.searches = append([]string{pod.Namespace + ".svc." + dom, "svc." + dom, dom}, host.searches...)
	return s, nil
}

// resolvers are those of the cluster's that a pod with these addresses can ask. Plugins may have given it addresses of one family only, and most
// programs wait seconds for a resolver that does not answer.
func (a *Agent) resolvers(ips []netip.Addr) (out []netip.Addr) {
	for _, d := range a.cfg.DNS {
		if slices.ContainsFunc(ips, func(ip netip.Addr) bool { return ip.Is4() == d.Is4() }) {
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		return a.cfg.DNS
	}
	return out
}

// hostResolv reads the node's own resolver settings.
func hostResolv() (resolvSettings, error) {
	var s resolvSettings
	b, err := os.ReadFile("/etc/resolv.conf")
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			s.servers = append(s.servers, f[1])
		case "search":
			s.searches = slices.DeleteFunc(f[1:], func(d string) bool { return d == "." })
		case "options":
			s.options = append(s.options, f[1:]...)
		}
	}
	return s, err
}

// mounts lists what a container sees of the host: its volumes, the etc files, its termination log.
func (s *start) mounts(env *environment) ([]runtime.Mount, error) {
	var out []runtime.Mount
	taken := map[string]bool{}
	for i := range s.spec.VolumeMounts {
		vm := &s.spec.VolumeMounts[i]
		sub, err := subPath(vm, env)
		if err != nil {
			return nil, err
		}
		m, err := s.a.vols.Mount(s.pod, vm, s.spec.Name, sub)
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		if err := s.a.mountOptions(m, vm); err != nil {
			return nil, err
		}
		out = append(out, *m)
		taken[path.Clean(vm.MountPath)] = true
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if target := "/etc/" + name; !taken[target] {
			out = append(out, runtime.Mount{Source: filepath.Join(s.a.etcDir(s.pod), name), Target: target})
		}
	}
	term, err := s.terminationLog()
	if err != nil {
		return nil, err
	}
	if target := path.Clean(terminationPath(s.spec)); !taken[target] {
		out = append(out, runtime.Mount{Source: term, Target: target})
	}
	return out, nil
}

// subPath is the part of a volume that is mounted, its variables replaced. A user's own is checked when the pod is made; what a variable
// brings in is known only now.
func subPath(vm *corev1.VolumeMount, env *environment) (string, error) {
	if vm.SubPathExpr == "" {
		return vm.SubPath, nil
	}
	if missing := missing(vm.SubPathExpr, env.values); len(missing) > 0 {
		return "", fmt.Errorf("missing value for %s", strings.Join(missing, ", "))
	}
	sub := expand(vm.SubPathExpr, env.values)
	if path.IsAbs(sub) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	if slices.Contains(strings.Split(sub, "/"), "..") {
		return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
	}
	return sub, nil
}

func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return corev1.TerminationMessagePathDefault
}

// terminationLog makes the empty file into which a container writes its last words.
func (s *start) terminationLog() (string, error) {
	file := s.a.terminationFile(s.pod, s.spec.Name, s.attempt)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return "", err
	}
	return file, os.Chmod(file, 0o666) // whoever the container runs as may write it
}

func (a *Agent) terminationFile(pod *corev1.Pod, container string, attempt int) string {
	return filepath.Join(a.cfg.DataDir, "pods", string(pod.UID), "containers", container, strconv.Itoa(attempt)+".message")
}

// terminationMessage is what an ended container left, or the end of its log if it asked for that.
func (w *worker) terminationMessage(c *container, x runtime.Container) string {
	if w.a.cfg.DataDir == "" {
		return ""
	}
	file := w.a.terminationFile(w.life.pod, c.spec.Name, x.Attempt)
	defer os.Remove(file) // it is in the status from now on
	if s := tail(file, terminationMessageMax); s != "" {
		return s
	}
	if x.ExitCode == 0 || c.spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
		return ""
	}
	return plainLog(tail(w.a.logPath(w.life.pod, c.spec.Name, x.Attempt), 8<<10))
}

// tail reads at most max bytes from a file's end; no file is no text.
func tail(file string, most int64) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(b), "")
}

// plainLog takes the CRI prefixes off the last 80 lines and keeps 2 KiB of them.
func plainLog(s string) string {
	lines := strings.SplitAfter(s, "\n")
	lines = lines[max(0, len(lines)-81):]
	var b strings.Builder
	for _, l := range lines {
		if f := strings.SplitN(l, " ", 4); len(f) == 4 {
			b.WriteString(f[3])
		}
	}
	out := b.String()
	return out[max(0, len(out)-2048):]
}
