// Package ingress serves the cluster's Ingresses at a node's ports for HTTP and HTTPS: those whose class has the built-in controller.
//
// Main flow: the node's watch feeds a model of ingresses, classes and certificates (model.go). Swap makes a routing of it and of the
// services' table (build.go), and drops connections to endpoints that are no longer in it. A request finds its backend by host and path
// (router.go), the standard library's reverse proxy carries it (proxy.go), and its transport chooses an endpoint and another one if that
// cannot be reached (balance.go). Connections to a machine that is taken for dead are ended (wires.go). The ports are open only
// while there is an ingress to serve (serve.go), so that another controller can have them.
//
// It must not know: where objects come from, or how an endpoint became ready.
package ingress
