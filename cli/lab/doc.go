// Package lab runs a cluster of several nodes on one machine and breaks it on request.
//
// Each node is a network namespace pp-LAB-NODE, a veth to a bridge, a directory, a cgroup and a process
// `peapod agent` in all of them. Because the cgroup holds everything the node started, its supervisor and
// its pods included, a node can be killed, frozen and thawed as a machine would be.
//
// Main flow: Up chooses a free /24, writes lab.json, makes bridge and namespaces, starts the first server,
// waits for its token, starts the rest and waits until servers are members and nodes are Ready. Everything
// that Up is about to make is in lab.json before it is made, so Down can undo an Up that was killed.
//
// It must not know: what an agent does beyond its flags, its data directory's kubeconfig and join-token,
// and the Kubernetes API.
package lab
