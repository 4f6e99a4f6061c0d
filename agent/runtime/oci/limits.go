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
	// layersMax is overlayfs's own limit.
	layersMax = 500
	// defaultPeriod is the CPU period in microseconds where a quota comes without one.
	defaultPeriod = 100000
	// filtersMax is how many compiled seccomp profiles are remembered, each 5 to 15 KB.
	filtersMax = 32
)
