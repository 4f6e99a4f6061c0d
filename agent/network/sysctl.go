package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sysctl is a value of the whole namespace that a pod network needs.
type sysctl struct{ name, value string }

var sysctls = []sysctl{
	{"net/ipv4/ip_forward", "1"},
	{"net/bridge/bridge-nf-call-iptables", "0"},
}

// sysctls6 are needed beside the others where there is IPv6.
var sysctls6 = []sysctl{
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/bridge/bridge-nf-call-ip6tables", "0"},
}

func (n *Network) sysctls() []sysctl {
	if !n.cfg.ClusterCIDR6.IsValid() {
		return sysctls
	}
	return slices.Concat(sysctls, sysctls6)
}

func readSysctl(name string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(b)), err
}

func writeSysctl(name, value string) error {
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
		return fmt.Errorf("setting sysctl %s to %s: %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}

// sysctlFile keeps the values that were there before us.
func (n *Network) sysctlFile() string { return filepath.Join(n.cfg.StateDir, "sysctls.json") }

func (n *Network) oldSysctls() map[string]string {
	old := map[string]string{}
	if b, err := os.ReadFile(n.sysctlFile()); err == nil && json.Unmarshal(b, &old) != nil {
		n.log.Warn("the record of earlier sysctl values is unreadable and is ignored", "file", n.sysctlFile())
	}
	return old
}

// setSysctls writes down the values that it is about to change, then changes them.
func (n *Network) setSysctls() error {
	old := n.oldSysctls()
	for _, s := range n.sysctls() {
		now, err := readSysctl(s.name)
		if errors.Is(err, os.ErrNotExist) || now == s.value {
			continue
		}
		if _, kept := old[s.name]; !kept {
			old[s.name] = now
		}
		b, err := json.Marshal(old)
		if err == nil {
			err = writeFile(n.sysctlFile(), b)
		}
		if err != nil {
			return fmt.Errorf("keeping the old value of sysctl %s: %w", s.name, err)
		}
		if err := writeSysctl(s.name, s.value); err != nil {
			return err
		}
	}
	return nil
}

// restoreSysctls puts back what setSysctls changed and nobody has changed since. Forwarding stays on
// where there are bridges of others: they rely on it as we did, and cannot be asked.
func (n *Network) restoreSysctls(othersForward bool) error {
	old := n.oldSysctls()
	var errs []error
	for _, s := range n.sysctls() {
		value, kept := old[s.name]
		if now, err := readSysctl(s.name); !kept || err != nil || now != s.value {
			continue
		}
		if (s.name == "net/ipv4/ip_forward" || s.name == sysctls6[0].name) && othersForward {
			continue
		}
		errs = append(errs, writeSysctl(s.name, value))
	}
	return errors.Join(errs...)
}

// quieten sets what our own links want: answers may come in by another link than the way back
// (rp_filter loose), and no IPv6 chatter on a network without it.
func quieten(link string) error {
	err := writeSysctl("net/ipv4/conf/"+link+"/rp_filter", "2")
	if six := "net/ipv6/conf/" + link + "/disable_ipv6"; err == nil {
		if _, absent := readSysctl(six); absent == nil {
			err = writeSysctl(six, "1")
		}
	}
	return err
}

// writeFile replaces path in one rename.
func writeFile(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
