// Package cni is this binary in the role of a network plugin (CNI): a container runtime starts it for each sandbox that
// it makes, and it asks the agent of the machine to give the sandbox its address.
//
// Main flow: the agent writes a configuration (Config) for the runtime and answers at the socket that it names;
// Main, in the process that the runtime starts, reads the configuration, asks, and prints the result.
//
// It must not know: how addresses are given, the runtime, pods beyond a UID.
package cni
