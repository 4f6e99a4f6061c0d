// Package cinit holds the small program that a container's first process is until it becomes the image's: libcontainer's init and nothing
// else. `make build` builds it and embeds it here, 5 MB where the whole binary has 110.
//
// libcontainer starts a container with the running binary, and knows no other. A Go program of our size needs some 10 ms until it comes to
// libcontainer's init: 345 packages initialise first, and the kernel hands out 2,000 pages. So that process changes over to the
// small program before Go's runtime starts (internal/early/container/hop.c). What is not embedded is not missed: without it the process goes on as it was.
//
// It must not know: anything of Peapod's.
package cinit
