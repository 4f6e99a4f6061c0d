// Package failure breaks a lab of the real binary in every way that Peapod promises to survive, and looks
// at it from the outside. Nothing here is timed: bounds are only there so that a broken cluster fails a test
// in the end; the speeds are in e2e/bench.
package failure
