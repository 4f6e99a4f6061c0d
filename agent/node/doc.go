// Package node puts a node agent together: the link to the servers, the container runtime, the image
// store, the pod network, the service proxy, DNS, the ingress proxy and the agent itself, and starts and stops them in
// the right order.
//
// Main flow: Run connects and registers, learns the cluster's networks, sets up the pod network with
// the CIDR that the leader gave to this node, and then feeds what the servers' watch says to the parts
// that want it. If no server answers, it begins with what the one before it has kept (kept.go). Beside what nodehttp serves, the servers may ask what the proxy does with a service, and for its metrics.
//
// It must not know: how any of the parts does its work.
package node
