// Package boot starts an agent process of either role or both, and reads as the boot story.
//
// Main flow: Run checks the machine, opens the ports, finds or founds or joins the cluster, starts
// gossip, then the server, then the node, and waits. In a process with both roles the node joins its
// own server over loopback as if it were far away.
//
// It must not know: flags, or what the parts do.
package boot
