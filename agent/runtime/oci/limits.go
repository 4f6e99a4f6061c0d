package oci

import "time"

const (
	// optionsBytesMax is what mount(2) takes: a page with its NUL.
	optionsBytesMax = 4095
	// shmBytes is the size of a pod's /dev/shm, as with other runtimes.
	shmBytes = 64 << 20
	// startsMax is how many containers are made at once: more only wait for each other in the kernel.
	startsMax = 8
	// killWait bounds how long RemoveSandbox waits for killed processes to be gone.
	killWait = 10 * time.Second
	// killRounds is how often the processes of a cgroup are listed and killed: each round kills all, so that a fork bomb needs luck in all of them.
	killRounds = 16
	// killPause is between two looks at processes that have been killed: most need less to be gone.
	killPause = time.Millisecond
	// goneWait is the longest of the pauses, each twice as long as the one before, in which killed processes are waited for.
	goneWait = time.Second
	// layersMax is overlayfs's own limit.
	layersMax = 500
	// mountPointsMax is how many sets of mount points have a layer of their own: a few directories and files each.
	mountPointsMax = 256
	// defaultPeriod is the CPU period in microseconds where a quota comes without one.
	defaultPeriod = 100000
	// filtersMax is how many compiled seccomp profiles are remembered, each 5 to 15 KB.
	filtersMax = 32
)
