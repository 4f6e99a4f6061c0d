// Package containerd starts a containerd with directories of its own, for tests and benchmarks: it takes nothing from the machine and
// leaves nothing there.
//
// Main flow: New writes its configuration, Start runs it, Load gives it the image of sandboxes, Remove ends it and says what is left.
//
// It must not know: any executor, nor what a test wants of containerd.
package containerd
