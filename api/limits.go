package api

// Limits on what one object may hold. They are Kubernetes' own, so a manifest that fits there fits here.
const (
	// dataBytesMax bounds the sum of the values of a ConfigMap or a Secret.
	dataBytesMax = 1 << 20
	// terminationMessagePathMax bounds nothing upstream; names of ports are bounded by DNS.
	subdomainCharactersMax = 63
	// activeDeadlineSecondsMax is the largest 32-bit integer, as clients keep it in one.
	activeDeadlineSecondsMax = 1<<31 - 1
	// eventTextBytesMax bounds an event's message; the short fields are bounded by 128.
	eventMessageBytesMax = 1024
	eventFieldBytesMax   = 128
	// sessionAffinitySecondsMax is one day.
	sessionAffinitySecondsMax = 86400
	// A slice of endpoints, and the addresses of one of them.
	sliceEndpointsMax         = 1000
	sliceEndpointAddressesMax = 100
	slicePortsMax             = 20000
	// jobIndexedMax bounds parallelism of an indexed job.
	jobParallelismIndexedMax = 100000
	// eventTTLSeconds is how long an event lives after its last write.
	eventTTLSeconds = 3600
	// namesShownMax is how many images or addresses a table cell names before "+ N more...".
	endpointsShownMax = 3
)
