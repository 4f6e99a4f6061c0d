// Package version says which Peapod this is. The linker sets Version.
package version
