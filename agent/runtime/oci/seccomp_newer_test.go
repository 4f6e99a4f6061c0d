//go:build cgo && seccomp

package oci

import (
	"encoding/binary"
	"testing"

	"github.com/opencontainers/runc/libcontainer/specconv"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// verdict runs a filter as the kernel would. The machine of x/net reads big-endian words, so the data are written so.
func verdict(t *rapid.T, program []byte, arch, call uint32) uint32 {
	var raw []bpf.RawInstruction
	for b := program; len(b) > 0; b = b[8:] {
		raw = append(raw, bpf.RawInstruction{Op: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])})
	}
	code, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program has what the disassembler does not know")
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64) // struct seccomp_data, without arguments
	binary.BigEndian.PutUint32(data, call)
	binary.BigEndian.PutUint32(data[4:], arch)
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// For every call: one that is newer than the profile does not exist, another has the profile's verdict.
func TestNewerCalls(t *testing.T) {
	rules, err := seccompProfile(runtime.ProfileDefault, []string{"CAP_CHOWN"})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := specconv.SetupSeccomp(rules)
	if err != nil {
		t.Fatal(err)
	}
	_, program, err := compileFilter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	archs, err := archsOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stub, err := newerCalls(cfg)
	if err != nil || len(stub) == 0 {
		t.Fatal(len(stub), err)
	}
	last := lastCall(cfg, archs[0])
	nosys := uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
	rapid.Check(t, func(r *rapid.T) {
		arch := rapid.SampledFrom(archs).Draw(r, "arch")
		call := rapid.OneOf(rapid.Uint32Range(0, 700), rapid.Uint32Range(0, 1<<30-1)).Draw(r, "call")
		end := lastCall(cfg, arch)
		if auditArch[arch] == unix.AUDIT_ARCH_X86_64 && end >= x32Bit {
			call |= x32Bit
		}
		got := verdict(r, program, auditArch[arch], call)
		if call > end && got != nosys {
			r.Fatalf("call %d of %d is newer than %d: %#x", call, arch, end, got)
		}
		if own := verdict(r, program[len(stub):], auditArch[arch], call); call <= end && got != own {
			r.Fatalf("call %d of %d: %#x, the profile says %#x", call, arch, got, own)
		}
	})
	for call, want := range map[uint32]uint32{unix.SYS_READ: unix.SECCOMP_RET_ALLOW, unix.SYS_MOUNT: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SYS_CLONE3: nosys, last + 1: nosys} {
		rapid.Check(t, func(r *rapid.T) {
			if got := verdict(r, program, auditArch[archs[0]], call); got != want {
				r.Fatalf("call %d: %#x, want %#x", call, got, want)
			}
		})
	}
}
