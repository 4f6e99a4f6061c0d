package gcpace

// Bounds of Floor, in bytes.
const (
	floorLeast = 192 << 20
	floorMost  = 512 << 20
	floorPart  = 32 // of the memory there is
)

// Floor is how many bytes the heap of a busy process may grow to before garbage is collected more often than need be: a small part of
// the bytes of memory that the process may use.
func Floor(memory uint64) uint64 { return min(floorMost, max(floorLeast, memory/floorPart)) }
