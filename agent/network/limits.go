package network

import "time"

const (
	// defaultBridge is the bridge's name where the configuration gives none.
	defaultBridge = "peapod0"
	// defaultVXLANPort is the UDP port of the VXLAN device where the configuration gives none.
	defaultVXLANPort = 8472
	// vxlanID is the network identifier of our VXLAN device.
	vxlanID = 7325
	// vxlanOverheadBytes is what encapsulation over IPv4 adds to a packet.
	vxlanOverheadBytes = 50
	// fallbackMTU serves where the node has no link but the loopback.
	fallbackMTU = 1500
	// bridgeNameMax leaves room for the VXLAN device's suffix in the kernel's 15 characters.
	bridgeNameMax = 12
	// routeProtocol marks the routes that we made (see rtnetlink(7), RTPROT_STATIC and above are free).
	routeProtocol = 112
	// dropGroup is the group of links that are about to be removed together; nobody else gives it ("peap").
	dropGroup = 0x70656170
	// peersMax bounds the list given to SetPeers.
	peersMax = 10_000
	// peersCheckEvery is how often the routes to the peers are compared with what they should be:
	// a link that went down and came back has lost them.
	peersCheckEvery = 3 * time.Second
	// peersRetryAfter is the pause after a failure.
	peersRetryAfter = time.Second
	// podCIDRBitsMin bounds the pool of one node to 65,534 addresses.
	podCIDRBitsMin = 16
	// podCIDRBitsMax leaves a gateway and one pod.
	podCIDRBitsMax = 30
	// uidLenMax bounds a pod UID, which is written to the address log.
	uidLenMax = 256
	// logSlackRecords is by how much the address log may outgrow its content before it is rewritten.
	logSlackRecords = 4096
	// setPartMax bounds the elements in one message to the packet filter, of which 64 KiB may be one list.
	setPartMax = 1000
	// filterBufferBytes holds the whole packet filter on its way into the kernel, some 100 bytes a rule and 40 an address.
	filterBufferBytes = 16 << 20
	// podLocks is the number of stripes that serialise work on one pod.
	podLocks = 64
)
