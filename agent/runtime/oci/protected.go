package oci

import "slices"

// ProtectedPaths are those that show or change the machine rather than the container: the first are hidden from a
// container, the second read-only in it.
func ProtectedPaths() (masked, readOnly []string) {
	return slices.Clone(maskedPaths), slices.Clone(readonlyPaths)
}
