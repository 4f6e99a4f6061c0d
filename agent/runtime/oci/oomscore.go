package oci

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// oomScore is the score adjustment that containers of this agent can have for the one that is wanted: an agent without
// CAP_SYS_RESOURCE, as in a container of its own, cannot go below its own, and a container that asked for it would not start.
func oomScore(want int) int {
	if mayLowerScore() {
		return want
	}
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return max(want, 0)
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		own = 0
	}
	return max(want, own)
}

// mayLowerScore looks at this process's effective capabilities.
func mayLowerScore() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}
