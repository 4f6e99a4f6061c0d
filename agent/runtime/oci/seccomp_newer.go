//go:build cgo && seccomp

package oci

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/opencontainers/runc/libcontainer/configs"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where struct seccomp_data has the call's number and the architecture.
const (
	dataNumber = 0
	dataArch   = 4
)

// x32Bit marks calls of the x32 convention, which has the architecture of x86-64.
const x32Bit = 0x40000000

// auditArch names architectures as the kernel does.
var auditArch = map[libseccomp.ScmpArch]uint32{
	libseccomp.ArchX86: unix.AUDIT_ARCH_I386, libseccomp.ArchAMD64: unix.AUDIT_ARCH_X86_64, libseccomp.ArchX32: unix.AUDIT_ARCH_X86_64,
	libseccomp.ArchARM: unix.AUDIT_ARCH_ARM, libseccomp.ArchARM64: unix.AUDIT_ARCH_AARCH64,
	libseccomp.ArchPPC64LE: unix.AUDIT_ARCH_PPC64LE, libseccomp.ArchS390X: unix.AUDIT_ARCH_S390X, libseccomp.ArchRISCV64: unix.AUDIT_ARCH_RISCV64,
}

// newerCalls is the beginning of a filter that answers ENOSYS to calls after the last one that the profile names, if
// the profile forbids what it does not name. EPERM would make a C library give up instead of trying the older call.
func newerCalls(cfg *configs.Seccomp) ([]byte, error) {
	if a := cfg.DefaultAction; a == configs.Allow || a == configs.Log || cfg.DefaultErrnoRet != nil && *cfg.DefaultErrnoRet == uint(unix.ENOSYS) {
		return nil, nil
	}
	archs, err := archsOf(cfg)
	if err != nil {
		return nil, err
	}
	var code []bpf.Instruction
	for _, a := range archs {
		if last := lastCall(cfg, a); a != libseccomp.ArchX32 && last > 0 {
			code = append(code, newerThan(a, last, cfg, archs)...)
		}
	}
	raw, err := bpf.Assemble(code)
	if err != nil {
		return nil, fmt.Errorf("assembling a filter: %w", err)
	}
	var out []byte
	for _, i := range raw {
		out = binary.NativeEndian.AppendUint16(out, i.Op)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out, nil
}

// archsOf lists a profile's architectures and this machine's, each once.
func archsOf(cfg *configs.Seccomp) ([]libseccomp.ScmpArch, error) {
	native, err := libseccomp.GetNativeArch()
	if err != nil {
		return nil, fmt.Errorf("this machine's architecture: %w", err)
	}
	out := []libseccomp.ScmpArch{native}
	seen := map[libseccomp.ScmpArch]bool{native: true}
	for _, name := range cfg.Architectures {
		a, err := libseccomp.GetArchFromString(name)
		if err != nil {
			return nil, fmt.Errorf("architecture %s: %w", name, err)
		}
		if !seen[a] && auditArch[a] != 0 {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out, nil
}

func lastCall(cfg *configs.Seccomp, a libseccomp.ScmpArch) uint32 {
	last := libseccomp.ScmpSyscall(0)
	for _, c := range cfg.Syscalls {
		if n, err := libseccomp.GetSyscallFromNameByArch(c.Name, a); err == nil {
			last = max(last, n) // calls that the architecture has not are negative
		}
	}
	return uint32(last)
}

// newerThan is the part for one architecture; other architectures go on behind it.
func newerThan(a libseccomp.ScmpArch, last uint32, cfg *configs.Seccomp, archs []libseccomp.ScmpArch) []bpf.Instruction {
	nosys := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
	arch := bpf.LoadAbsolute{Off: dataArch, Size: 4}
	number := bpf.LoadAbsolute{Off: dataNumber, Size: 4}
	if a != libseccomp.ArchAMD64 {
		return []bpf.Instruction{arch, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: auditArch[a], SkipTrue: 3},
			number, bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: last, SkipTrue: 1}, nosys}
	}
	lastX32 := uint32(math.MaxUint32)
	for _, other := range archs {
		if n := lastCall(cfg, other); other == libseccomp.ArchX32 && n > 0 {
			lastX32 = n | x32Bit
		}
	}
	return []bpf.Instruction{arch, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: auditArch[a], SkipTrue: 5},
		number, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: x32Bit, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: last, SkipTrue: 1, SkipFalse: 2},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: lastX32, SkipTrue: 1}, nosys}
}
