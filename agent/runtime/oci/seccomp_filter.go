//go:build cgo && seccomp

package oci

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// CanFilter tells whether this program was built with seccomp.
const CanFilter = true

// compileFilter makes the program that libcontainer would load for cfg. It answers calls that are newer than the
// profile with ENOSYS, as libcontainer does, so that a C library falls back to older ones.
func compileFilter(cfg *configs.Seccomp) (flags uint32, program []byte, err error) {
	action, err := scmpAction(cfg.DefaultAction, cfg.DefaultErrnoRet)
	if err != nil {
		return 0, nil, err
	}
	f, err := libseccomp.NewFilter(action)
	if err != nil {
		return 0, nil, fmt.Errorf("making a filter: %w", err)
	}
	defer f.Release()
	for _, name := range cfg.Architectures {
		arch, err := libseccomp.GetArchFromString(name)
		if err != nil {
			return 0, nil, fmt.Errorf("architecture %s: %w", name, err)
		}
		if err := f.AddArch(arch); err != nil {
			return 0, nil, fmt.Errorf("architecture %s: %w", name, err)
		}
	}
	if len(cfg.Syscalls) > 32 {
		_ = f.SetOptimize(2) // a tree instead of a list; an older library has only lists
	}
	for _, call := range cfg.Syscalls {
		if err := addCall(f, call, action); err != nil {
			return 0, nil, fmt.Errorf("system call %s: %w", call.Name, err)
		}
	}
	if program, err = export(f); err != nil {
		return 0, nil, err
	}
	stub, err := newerCalls(cfg)
	return kernelFlags(cfg.Flags), append(stub, program...), err
}

func kernelFlags(flags []specs.LinuxSeccompFlag) uint32 {
	var out uint32
	for _, f := range flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			out |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			out |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		}
	}
	return out
}

// export takes the program out of the library, which writes it to a descriptor.
func export(f *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making room for a filter: %w", err)
	}
	file := os.NewFile(uintptr(fd), "filter")
	defer file.Close()
	if err := f.ExportBPF(file); err != nil {
		return nil, fmt.Errorf("compiling a filter: %w", err)
	}
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, st.Size())
	_, err = file.ReadAt(b, 0)
	return b, err
}

func scmpAction(a configs.Action, errno *uint) (libseccomp.ScmpAction, error) {
	code := int16(unix.EPERM)
	if errno != nil {
		code = int16(*errno)
	}
	switch a {
	case configs.Kill, configs.KillThread:
		return libseccomp.ActKillThread, nil
	case configs.KillProcess:
		return libseccomp.ActKillProcess, nil
	case configs.Errno:
		return libseccomp.ActErrno.SetReturnCode(code), nil
	case configs.Trace:
		return libseccomp.ActTrace.SetReturnCode(code), nil
	case configs.Trap:
		return libseccomp.ActTrap, nil
	case configs.Allow:
		return libseccomp.ActAllow, nil
	case configs.Log:
		return libseccomp.ActLog, nil
	}
	return libseccomp.ActInvalid, errors.New("an action that is not known here")
}

var scmpOperators = map[configs.Operator]libseccomp.ScmpCompareOp{
	configs.EqualTo: libseccomp.CompareEqual, configs.NotEqualTo: libseccomp.CompareNotEqual,
	configs.GreaterThan: libseccomp.CompareGreater, configs.GreaterThanOrEqualTo: libseccomp.CompareGreaterEqual,
	configs.LessThan: libseccomp.CompareLess, configs.LessThanOrEqualTo: libseccomp.CompareLessOrEqual,
	configs.MaskEqualTo: libseccomp.CompareMaskedEqual,
}

// addCall adds one rule. A call that the library does not know cannot be made on this machine's kernels either.
func addCall(f *libseccomp.ScmpFilter, call *configs.Syscall, otherwise libseccomp.ScmpAction) error {
	action, err := scmpAction(call.Action, call.ErrnoRet)
	if err != nil || action == otherwise {
		return err
	}
	number, err := libseccomp.GetSyscallFromName(call.Name)
	if err != nil {
		return nil
	}
	if len(call.Args) == 0 {
		return f.AddRule(number, action)
	}
	conditions, repeated, err := scmpConditions(call.Args)
	if err != nil {
		return err
	}
	if !repeated {
		return f.AddRuleConditional(number, action, conditions)
	}
	// Several conditions on one argument have always meant that any of them suffices.
	for _, c := range conditions {
		if err := f.AddRuleConditional(number, action, []libseccomp.ScmpCondition{c}); err != nil {
			return err
		}
	}
	return nil
}

func scmpConditions(args []*configs.Arg) (out []libseccomp.ScmpCondition, repeated bool, err error) {
	seen := map[uint]bool{}
	for _, a := range args {
		op, ok := scmpOperators[a.Op]
		if !ok {
			return nil, false, errors.New("an operator that is not known here")
		}
		c, err := libseccomp.MakeCondition(a.Index, op, a.Value, a.ValueTwo)
		if err != nil {
			return nil, false, err
		}
		repeated = repeated || seen[a.Index]
		seen[a.Index] = true
		out = append(out, c)
	}
	return out, repeated, nil
}
