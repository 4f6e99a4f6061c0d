// Package policy turns network policies, the labels of namespaces and what is known of pods into what a node's packet filter
// and its service proxy do.
//
// Main flow: Model takes objects in as a node hears of them; View is a picture of all of them, made when something has
// changed. View.Filter is what the pods of this node may reach and who may reach them, for the kernel; View.Allows is the same
// question about one connection of the proxy, which stands between a client and an endpoint of any node. Both read the
// same rules, which are resolved when first asked for: selectors into ranges of addresses, names of ports into numbers.
//
// It must not know: how packets are filtered, where objects come from, services.
package policy
