// Command program is what a container's first process is until it becomes the image's: see internal/cinit.
//
// It must not know: anything of Peapod's.
package main
