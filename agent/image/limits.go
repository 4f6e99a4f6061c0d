package image

import "time"

// Limits bound what a stranger's image may cost the node. A zero field means its default.
type Limits struct {
	LayerBytes   int64 // one layer, unpacked
	LayerEntries int   // tar entries of one layer
	ArchiveBytes int64 // an archive given to Load or ImportRootfs, decompressed
}

const (
	defaultLayerBytes   = 64 << 30
	defaultLayerEntries = 2_000_000
	defaultArchiveBytes = 128 << 30

	manifestBytesMax = 4 << 20  // registries themselves stop at 4 MiB
	configBytesMax   = 8 << 20  // a configuration with its history
	accountBytesMax  = 4 << 20  // /etc/passwd or /etc/group of an image
	xattrBytesMax    = 64 << 10 // the kernel's own limit for one attribute
	pathBytesMax     = 4096     // PATH_MAX
	layersMax        = 500      // overlayfs stops at 500 lower directories
	nestedIndexMax   = 4        // an index in an index in an index...
	symlinksMax      = 40       // the kernel's own limit of links in one path

	layersAtOnce    = 3                      // downloads of one pull; more gains nothing against one registry
	blobAttempts    = 4                      // in a row without a byte of progress, until a layer's download is given up
	blobPause       = 100 * time.Millisecond // after the first of them; doubles
	corruptAttempts = 2                      // of a layer whose content is not what its digest promised
	stallTimeout    = 30 * time.Second       // without a byte, until a source counts as dead

	requestAttempts  = 5                      // of one request that a registry answers with 429 or 5xx
	requestPause     = 200 * time.Millisecond // before the second; doubles
	retryAfterMax    = 30 * time.Second       // a registry that wants more time is not waited for
	dialTimeout      = 10 * time.Second
	headerTimeout    = 30 * time.Second
	partialKept      = 24 * time.Hour // until a download that nobody goes on with is removed
	progressInterval = 100 * time.Millisecond
)

// withDefaults fills what was left zero.
func (l Limits) withDefaults() Limits {
	if l.LayerBytes == 0 {
		l.LayerBytes = defaultLayerBytes
	}
	if l.LayerEntries == 0 {
		l.LayerEntries = defaultLayerEntries
	}
	if l.ArchiveBytes == 0 {
		l.ArchiveBytes = defaultArchiveBytes
	}
	return l
}
