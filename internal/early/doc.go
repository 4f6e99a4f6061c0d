// Package early is what runs before the Kubernetes libraries initialise: the tools of the demo image, for which this binary is all
// programs at once, and the network plugin that a container runtime starts for each of its sandboxes. The process that becomes a
// container leaves earlier still, in internal/early/container.
//
// It must not know: anything of Peapod's but what such a process needs.
package early
