// Package rig starts labs of the real binary for benchmarks and failure tests, breaks them by the
// commands that people have, and gives clients to look at them from the outside. It knows nothing of
// the product's packages: only the command line, the API and the administrator's sockets.
package rig
