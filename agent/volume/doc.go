// Package volume puts a pod's volumes on the node's disk and says what a container is to mount.
//
// Prepare makes every volume of a pod before its sandbox starts; Mount says for one volumeMount which host
// path goes where; Refresh writes ConfigMaps, Secrets and projections anew when they have changed; Remove
// takes everything away. The files of one volume always change together (atomic.go).
//
// It must not know: containers, the runtime's isolation, or when a pod starts and ends.
package volume
