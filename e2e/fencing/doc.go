// Package fencing shows on a real cluster that a pod which must not run twice is replaced by itself when its node is cut off or its
// agent hangs or dies, and that the two never run at the same time.
package fencing
