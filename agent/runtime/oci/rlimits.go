package oci

import (
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/supervisor"
)

// Open files are limited as systemd limits a service, whatever soft limit the agent was started with. The soft limit stays
// where select(2) still works. Everything else a container has from the agent.
const (
	filesSoft = 1024
	filesHard = 524288
)

// rlimits are a container's. An agent without CAP_SYS_RESOURCE cannot give more than it has.
func rlimits() []configs.Rlimit {
	hard := uint64(filesHard)
	var own unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &own) == nil {
		hard = min(hard, own.Max)
	}
	return []configs.Rlimit{{Type: unix.RLIMIT_NOFILE, Soft: min(filesSoft, hard), Hard: hard}}
}

// execRlimits are the same for a command.
func execRlimits() []supervisor.Rlimit {
	var out []supervisor.Rlimit
	for _, r := range rlimits() {
		out = append(out, supervisor.Rlimit{Resource: r.Type, Soft: r.Soft, Hard: r.Hard})
	}
	return out
}
