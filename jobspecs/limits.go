package jobspecs

const (
	// fileBytesMax bounds a job file. The API takes objects of 3 MiB at most, so nothing sensible is larger.
	fileBytesMax = 4 << 20
	// nestingMax bounds brackets and blocks within each other, because HCL's parser recurses.
	nestingMax = 200
	// portNameMax is the longest name that Kubernetes gives a port (IANA's service names).
	portNameMax = 15
	// groupCountMax bounds count, so that a slip of the finger does not flood a cluster.
	groupCountMax = 1_000_000
)
