package oci

import (
	"fmt"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// capBits names every capability of Linux by its bit.
var capBits = map[string]uint{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
	"FOWNER": unix.CAP_FOWNER, "FSETID": unix.CAP_FSETID, "KILL": unix.CAP_KILL, "SETGID": unix.CAP_SETGID,
	"SETUID": unix.CAP_SETUID, "SETPCAP": unix.CAP_SETPCAP, "LINUX_IMMUTABLE": unix.CAP_LINUX_IMMUTABLE,
	"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "NET_BROADCAST": unix.CAP_NET_BROADCAST,
	"NET_ADMIN": unix.CAP_NET_ADMIN, "NET_RAW": unix.CAP_NET_RAW, "IPC_LOCK": unix.CAP_IPC_LOCK,
	"IPC_OWNER": unix.CAP_IPC_OWNER, "SYS_MODULE": unix.CAP_SYS_MODULE, "SYS_RAWIO": unix.CAP_SYS_RAWIO,
	"SYS_CHROOT": unix.CAP_SYS_CHROOT, "SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_PACCT": unix.CAP_SYS_PACCT,
	"SYS_ADMIN": unix.CAP_SYS_ADMIN, "SYS_BOOT": unix.CAP_SYS_BOOT, "SYS_NICE": unix.CAP_SYS_NICE,
	"SYS_RESOURCE": unix.CAP_SYS_RESOURCE, "SYS_TIME": unix.CAP_SYS_TIME, "SYS_TTY_CONFIG": unix.CAP_SYS_TTY_CONFIG,
	"MKNOD": unix.CAP_MKNOD, "LEASE": unix.CAP_LEASE, "AUDIT_WRITE": unix.CAP_AUDIT_WRITE,
	"AUDIT_CONTROL": unix.CAP_AUDIT_CONTROL, "SETFCAP": unix.CAP_SETFCAP, "MAC_OVERRIDE": unix.CAP_MAC_OVERRIDE,
	"MAC_ADMIN": unix.CAP_MAC_ADMIN, "SYSLOG": unix.CAP_SYSLOG, "WAKE_ALARM": unix.CAP_WAKE_ALARM,
	"BLOCK_SUSPEND": unix.CAP_BLOCK_SUSPEND, "AUDIT_READ": unix.CAP_AUDIT_READ, "PERFMON": unix.CAP_PERFMON,
	"BPF": unix.CAP_BPF, "CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE,
}

// defaultCaps is what other runtimes give a container that asks for nothing.
var defaultCaps = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
	"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// ownCaps are the capabilities that this process has to give. On a machine that is itself a container some are missing.
var ownCaps = sync.OnceValues(func() (uint64, error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&h, &data[0]); err != nil {
		return 0, fmt.Errorf("reading the agent's capabilities: %w", err)
	}
	known, err := maskOf(allCaps())
	return known & (uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)), err
})

// capMask applies add and drop to the defaults: ALL first, then single names, so that "drop ALL, add X"
// and "add ALL, drop X" both mean what they say. ALL is what the agent has.
func capMask(add, drop []string, privileged bool) (uint64, error) {
	all, err := ownCaps()
	if err != nil || privileged {
		return all, err
	}
	mask, _ := maskOf(defaultCaps)
	addMask, err := maskOf(without(add, "ALL"))
	if err != nil {
		return 0, err
	}
	dropMask, err := maskOf(without(drop, "ALL"))
	if err != nil {
		return 0, err
	}
	if len(without(drop, "ALL")) < len(drop) {
		mask = 0
	}
	if len(without(add, "ALL")) < len(add) {
		mask = all
	}
	return (mask | addMask) &^ dropMask, nil
}

func normalCap(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

func without(list []string, name string) []string {
	var out []string
	for _, l := range list {
		if normalCap(l) != name {
			out = append(out, l)
		}
	}
	return out
}

func maskOf(names []string) (uint64, error) {
	var mask uint64
	for _, n := range names {
		bit, ok := capBits[normalCap(n)]
		if !ok {
			return 0, fmt.Errorf("unknown capability %q", n)
		}
		mask |= 1 << bit
	}
	return mask, nil
}

func allCaps() []string {
	out := make([]string, 0, len(capBits))
	for n := range capBits {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// capNames lists a mask in libcontainer's spelling.
func capNames(mask uint64) []string {
	out := []string{}
	for _, n := range allCaps() {
		if mask>>capBits[n]&1 == 1 {
			out = append(out, "CAP_"+n)
		}
	}
	return out
}
