package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"net"
	"net/netip"
	"strings"
)

// The hardware addresses are locally administered and made from what they stand for. So a reused
// pod address never meets a stale ARP entry, a node knows the others' VXLAN ends without asking, and
// each link that we made can be told from others from the moment it exists.
var (
	macBridge = []byte{0x02, 0x70} // + 4 bytes of the node name's hash
	macPod    = []byte{0x02, 0x71} // + the pod's address; its end in the pod
	macHost   = []byte{0x02, 0x72} // + the pod's address; its end on the bridge
	macVXLAN  = []byte{0x02, 0x73} // + the node's address
)

func macOf(kind []byte, addr netip.Addr) net.HardwareAddr {
	four := addr.As4()
	return append(bytes.Clone(kind), four[:]...)
}

func bridgeMAC(nodeName string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(nodeName))
	return append(bytes.Clone(macBridge), sum[:4]...)
}

// hostMACAddr tells which pod address the host end of a pair with this hardware address serves.
func hostMACAddr(mac net.HardwareAddr) (netip.Addr, bool) {
	if len(mac) != 6 || !bytes.HasPrefix(mac, macHost) {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(mac[2:])), true
}

// vethPrefix starts the names of the pairs' ends on the node.
const vethPrefix = "pea"

// vethName is the name of a pod's link on the node: 60 bits of the UID's hash.
func vethName(podUID string) string {
	sum := sha256.Sum256([]byte(podUID))
	return vethPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:8]))[:12]
}

// vxlanName is the VXLAN device that goes with a bridge.
func vxlanName(bridge string) string { return bridge + "-vx" }

// ipNet is p in the standard library's older form, with p's own address and not the network's.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
