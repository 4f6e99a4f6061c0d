// Package gossip keeps a view of who is alive, by memberlist: it corroborates, within half a second, what a connection suspects.
//
// Main flow: Start binds UDP and TCP, Join meets the others, Run keeps meeting those that a partition took away. State and
// Members answer from a small table that two sources fill: memberlist's callbacks, and our own outgoing packets. The second
// is there because memberlist tells nobody whom it suspects; but everything that it believes it also passes on, within one
// gossip interval, so the transport reads what it is about to send (view.go, sniff.go).
//
// The numbers (limits.go) were measured together with the rule of rpc/liveness.
//
// It must not know: what a member is for, who is the leader, or what is done about the dead.
package gossip
