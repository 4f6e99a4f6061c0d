// Package network is the pod network of one node: a bridge, a veth pair for every pod, addresses
// from the node's own CIDR, routes or a VXLAN device to the other nodes, and masquerade for what
// leaves the cluster. In clusters of both families all of it is there for IPv6, too (six.go): a pod's second address has the place of its
// first, and goes to other nodes by the VXLAN device. Everything is done by netlink, in the network namespace in which New is called.
//
// Main flow: New reads which addresses are given away; Setup makes the bridge, the sysctls and the
// masquerade rule, or adopts those that an earlier agent left; Attach and Detach serve pods; SetPeers
// names the other nodes, and one goroutine keeps the routes to them as they should be until Stop
// (which leaves everything in place for the next agent) or Close (which removes all that was made).
//
// An Announcer keeps addresses of services, of either family, on the node's link and tells the neighbours. The kernel removes them soon
// after an agent that no longer refreshes them.
//
// SetFilter holds isolated pods apart (network policies): a packet filter, with a table of each family, that is replaced whole, and only
// then what the bridge carries from pod to pod passes it.
//
// KeepSources leads what pods answer to their clients' own addresses back to the service proxy's transparent sockets on this node, and
// KeepsSource says for which clients and pods that works.
//
// What is ours is known by its mark: links carry a "peapod" alias or hang on our bridge under our
// prefix (those to be removed together, in a group), routes carry our protocol number, rules live in our nftables tables. Nothing else is touched
// except these sysctls, whose old values are kept in the state directory and put back by Close:
// net.ipv4.ip_forward (1: pods' packets are routed) and net.bridge.bridge-nf-call-iptables (0, where
// it exists: pods of one node must not pass the filters meant for routed traffic), and their like for
// IPv6 in clusters of both families. rp_filter is set to loose on our own links only.
//
// It must not know: pods beyond a UID and a namespace path, services, the API, or who decides CIDRs.
package network
