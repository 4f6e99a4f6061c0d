// Package volume puts a pod's volumes on the node's disk and says what a container is to mount.
//
// Prepare makes every volume of a pod before its sandbox starts, but those of images, which PrepareImages makes before a container
// starts that mounts them; Mount says for one volumeMount which host
// path goes where; Refresh writes ConfigMaps, Secrets and projections anew when they have changed; Excess
// measures what is kept in volumes with a limit; Release and Remove take everything away. The files of one
// volume always change together (atomic.go). What may be secret is in memory, one mount a volume: mounting
// and unmounting costs about 30 us (Linux 6.18), less than a file on disk.
//
// A claim's volume is a directory elsewhere and a symlink here (claim.go), so that what a pod leaves behind
// can be removed without looking at what it is. Every mount is of a file system of its own directly below
// the pod's volumes/, so that any later agent finds and undoes it.
//
// It must not know: containers, the runtime's isolation, or when a pod starts and ends.
package volume
