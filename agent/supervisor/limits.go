package supervisor

import "time"

// Version of the protocol. 2: EXEC has a container's own user namespace, limits, seccomp filter and AppArmor profile. 3: RUN.
const Version = 3

const (
	// PathBytesMax is the longest directory that leaves room for "/sock" in a socket's address.
	PathBytesMax = 100
	// packetBytesMax is the longest message sent as a datagram; a longer one goes in a memfd.
	packetBytesMax = 64 << 10
	// bodyBytesMax is the longest message at all.
	bodyBytesMax = 8 << 20
	// OutputBytesMax is how much of a command's output Run can keep.
	OutputBytesMax = 64 << 10
	// fdsMax is the number of descriptors in a message.
	fdsMax = 8
	// idleConnsMax is how many connections a Client keeps for its next requests.
	idleConnsMax = 16
	// callTimeout bounds a request. The supervisor never blocks, so this is a dead supervisor.
	callTimeout = 10 * time.Second
	// exitLineBytesMax is longer than any line of the journal: four numbers.
	exitLineBytesMax = 256
	// argsMax mirrors the number of fields that the supervisor accepts.
	argsMax = 60000
)

// Names of the roles that argv[0] selects.
const (
	PauseName      = "peapod-pause"
	supervisorName = "peapod-supervisor"
	// PauseSeen is the pause's second argument in a pod whose containers see it.
	PauseSeen = "seen"
)
