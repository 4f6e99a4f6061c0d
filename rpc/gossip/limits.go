package gossip

import (
	"math"
	"time"
)

// The protocol's numbers. A member sends about 10 packets and 0.7 kB a second when nothing happens, and each of them wakes two processes.
const (
	probeInterval = 200 * time.Millisecond
	// probeTimeout stays below half of probeInterval: a negative answer comes after twice the timeout.
	probeTimeout        = 80 * time.Millisecond
	indirectChecks      = 3
	gossipInterval      = 100 * time.Millisecond
	gossipNodes         = 4
	gossipToTheDead     = 30 * time.Second
	awarenessMultiplier = 2
	streamTimeout       = 2 * time.Second
	pushPullInterval    = 30 * time.Second
	// retransmitMult times ceil(log10(n+1)) is how often a message is passed on; 4 is too few for six members. It cannot
	// follow n, so it is what six need and somewhat more than what two thousand do.
	retransmitMult = 8
	// deadReclaim lets a dead member's name come back from another address at once: an address that changes is no event.
	deadReclaim = time.Millisecond
	// suspicionTarget is when a suspect becomes dead, whatever n is. It leaves the room to refute that a pause of a second needs.
	suspicionTarget = 1330 * time.Millisecond
)

const (
	// KeyBytes of the cluster's key: AES-256.
	KeyBytes = 32
	// MaxMetaBytes of Config.Meta; the role takes the rest of what memberlist allows.
	MaxMetaBytes = 400
	// maxRoleBytes of Config.Role.
	maxRoleBytes = 63
	// eventBacklog is how many events wait for their reader; then an event with Missed says that some were dropped.
	eventBacklog = 1024
	// maxForgotten is how many dead and left members are remembered, for rejoining them.
	maxForgotten = 4096
	// maxPacketBytes that is received; what we send stays below udpBufferBytes.
	maxPacketBytes = 65536
	// udpBufferBytes keeps a packet, encryption included, inside an Ethernet frame under VXLAN.
	udpBufferBytes = 1350
	// socketBufferBytes of the kernel's receive buffer: packets that come while this process does not run.
	socketBufferBytes = 2 << 20
	// portAttempts to find a port that is free for both TCP and UDP, if the kernel may choose.
	portAttempts = 10
	// handoffDepth is how many received messages wait to be handled.
	handoffDepth = 4096
)

const (
	rejoinInterval = time.Second
	rejoinRetryMax = 30 * time.Second
	// rejoinSeeds is how many seeds are tried in one round.
	rejoinSeeds = 2
	// rejoinPerRound is how many members of the whole cluster together look for a dead member in one round.
	rejoinPerRound = 4
)

const (
	// noisyLines of warnings in noisyPeriod are passed on; the others are counted.
	noisyLines  = 20
	noisyPeriod = time.Minute
)

// suspicionMult is memberlist's multiplier for n members: its timeout is mult * max(1, log10 n) * probeInterval, and the
// promise does not grow with n. Never below 2: a suspect needs a round of probes to hear of it.
func suspicionMult(n int) int {
	scale := math.Max(1, math.Log10(math.Max(1, float64(n)))) * float64(probeInterval)
	return max(2, int(math.Round(float64(suspicionTarget)/scale)))
}
