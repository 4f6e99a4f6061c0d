// Package image keeps the node's container images: it pulls them from registries, loads them from
// archives, imports root file systems, and hands out directories that overlayfs can mount.
//
// The flow: a reference is made canonical (ref.go), its manifest and configuration are fetched from
// the first mirror that has them (pull.go, registry.go) or read from an archive (load.go, rootfs.go), and ingest.go
// brings in what is missing: blobs, each verified by its digest (download.go), and layers, each unpacked once, while its
// blob comes, into a directory named by its diff ID (unpack.go). Only when all of it is on disk does index.json name
// the image, so whatever a crash leaves half done is nameless, and Open clears it away. Other nodes can be asked for blobs
// before the registry is (peers.go). rights.go knows whose credentials have brought an image, gc.go removes what nobody uses,
// intact.go finds layers that were damaged since they were unpacked.
//
// On disk:
//
//	oci-layout, index.json   an OCI image layout; every name of an image is one entry of the index
//	blobs/sha256/HEX         manifests, configurations, layers as they were delivered
//	layers/HEX/              unpacked layers by diff ID: whiteouts are 0/0 character devices and
//	                         opaque directories carry trusted.overlay.opaque, as overlayfs wants
//	sums/HEX                 what the file system said of an unpacked layer's files, to find damage (intact.go)
//	damaged/                 layers that were found damaged, until the machine starts again
//	partial/HEX              blobs on their way; the next attempt, or the next process, goes on with them
//	rights.json              who may use what a registry has given
//	tmp/                     whatever is not finished; emptied by Open
//
// It must not know: pods, pull policies, back-off, which containers run (callers say what is in use).
package image
