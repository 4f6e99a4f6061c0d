package api

// Limits on what one object may hold. They are Kubernetes' own, so a manifest that fits there fits here.
const (
	// dataBytesMax bounds the sum of the values of a ConfigMap or a Secret.
	dataBytesMax = 1 << 20
	// managedByCharactersMax bounds the name of a job's foreign controller.
	managedByCharactersMax = 63
	// activeDeadlineSecondsMax is the largest 32-bit integer, as clients keep it in one.
	activeDeadlineSecondsMax = 1<<31 - 1
	// Texts of an event: its message, and every other one.
	eventMessageBytesMax = 1024
	eventFieldBytesMax   = 128
	// eventSeriesCountMin: once is not a series.
	eventSeriesCountMin = 2
	// sessionAffinitySecondsMax is one day.
	sessionAffinitySecondsMax = 86400
	// A slice of endpoints, and the addresses of one of them.
	sliceEndpointsMax         = 1000
	sliceEndpointAddressesMax = 100
	slicePortsMax             = 20000
	// sliceHintsMax bounds each list of an endpoint's hints.
	sliceHintsMax = 8
	// jobParallelismIndexedMax bounds parallelism of an indexed job.
	jobParallelismIndexedMax = 100000
	// userPriorityMax is the highest priority of a class that is not the system's.
	userPriorityMax = 1000000000
	// levelQueuesMax bounds the queues of a priority level.
	levelQueuesMax = 10 * 1000 * 1000
	// requestPolicyValuesMax bounds the amounts that a device's capacity can be shared out in.
	requestPolicyValuesMax = 10
	// Of an indexed job: how many of its indexes may fail, and from how many completions on it may run and fail only so many at a time.
	jobFailedIndexesMax       = 100000
	jobCompletionsMany        = 100000
	jobParallelismOfManyMax   = 10000
	jobFailedIndexesOfManyMax = 10000
	// The rules of a job's policies, the conditions in one of them, and its exit codes.
	jobPolicyRulesMax           = 20
	jobExitCodesMax             = 255
	jobSucceededIndexesBytesMax = 64 << 10
	// cronJobNameCharactersMax leaves room for what a job's name adds to that of its cron job: a dash and a time in minutes.
	cronJobNameCharactersMax = 52
	// What an autoscaler looks back on, and the time in which a policy counts.
	stabilizationSecondsMax = 3600
	scalingPeriodSecondsMax = 1800
	// eventTTLSeconds is how long an event lives after its last write.
	eventTTLSeconds = 3600
	// Entries of a network policy's policyTypes: there are two directions.
	policyTypesMax = 2
	// ingressControllerBytesMax bounds the name of the controller of a class of ingresses.
	ingressControllerBytesMax = 250
	// serviceCIDRsMax is one range of each family of addresses.
	serviceCIDRsMax = 2
	// certificateSecondsMin is the shortest time for which a certificate can be asked.
	certificateSecondsMin = 600
	// signerPathBytesMax bounds what follows the domain in a signer's name: a subdomain, a dot and a label.
	signerPathBytesMax = 253 + 1 + 63
	// trustBundleBytesMax bounds the trust anchors of a ClusterTrustBundle.
	trustBundleBytesMax = 1 << 20
	// What a pod asks for a certificate with, and what it gets.
	stubRequestBytesMax      = 10 << 10
	certificateChainBytesMax = 100 << 10
	// ingressHostsShownMax is how many hosts a table cell names before "+ N more...".
	ingressHostsShownMax = 3
	// endpointsShownMax is how many addresses a table cell names before "+ N more...".
	endpointsShownMax = 3
	// Parameters of a class of storage or of volume attributes: how many, and the sum of their keys and values.
	classParametersMax     = 512
	classParameterBytesMax = 256 << 10
	// What attaching a volume may leave behind: metadata (keys and values) and the message of an error.
	attachmentMetadataBytesMax = 256 << 10
	volumeErrorBytesMax        = 1024
	// grpcCodeMax is the largest code that gRPC has a meaning for (UNAUTHENTICATED).
	grpcCodeMax = 16
	// csiNodeIDBytesMax is the CSI specification's bound on a node's name.
	csiNodeIDBytesMax = 256
	// allocatableUpdateSecondsMin keeps drivers from being asked all the time how many volumes fit.
	allocatableUpdateSecondsMin = 10
)
