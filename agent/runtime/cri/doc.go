// Package cri is a runtime.Executor that has another program run pods: a container runtime that serves the Container
// Runtime Interface (CRI v1), such as containerd or CRI-O.
//
// Main flow: New reaches the runtime's socket and takes up what it holds of this node's; StartSandbox and
// StartContainer say a pod in the interface's words (translate.go); the end of a container is heard from the kernel by
// pidfd and learnt from the runtime (exits.go), and is on disk before it is delivered; commands and terminals are
// streams to the runtime's own server (stream.go). The runtime's network plugin is this binary (cni.go), which asks the
// agent for the pod's address. Images lie with the runtime (images.go).
//
// What the runtime holds is found by labels, so nothing but the delivery of ends is kept on disk.
//
// It must not know: the agent, the pod network, pull policies.
package cri
