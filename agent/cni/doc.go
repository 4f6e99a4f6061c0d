// Package cni is the pod network of one node by plugins of the Container Network Interface, instead of the built-in one.
//
// Main flow: New reads the configuration, as every container runtime does, and has each plugin tell that it is there and knows the
// configuration's version; Setup takes the node's pod CIDRs, which plugins hear that have the capability ipRanges; Attach runs
// ADD for a pod and takes the addresses from the result, Detach runs DEL; Keep, after a restart of the agent, runs CHECK for the pods
// that are still there, and DEL for the others (and GC, from version 1.1 of the specification on).
//
// What was added is kept by libcni in the state directory, with the configuration that it was added with: a pod is deleted by that one,
// whatever the file says by then. Nothing here leads to other nodes, masquerades or filters: with plugins, that is theirs.
//
// It must not know: what a cluster is, or who asks for pods.
package cni
