package image

import "errors"

// The kinds of failure that callers treat differently; test with errors.Is.
var (
	ErrReference    = errors.New("invalid image reference")
	ErrNotFound     = errors.New("image not found")
	ErrUnauthorized = errors.New("access to the image denied")
	ErrUnreachable  = errors.New("registry not reachable")
	ErrInUse        = errors.New("image is in use")
	ErrHostile      = errors.New("layer refused")    // its tar stream tries what no image should
	ErrLimit        = errors.New("limit exceeded")   // see Limits
	ErrUnsupported  = errors.New("not supported")    // a platform or media type that this node cannot run
	ErrCorrupt      = errors.New("content mismatch") // the bytes are not those the digest promised
)
