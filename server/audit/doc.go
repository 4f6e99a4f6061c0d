// Package audit writes who asked the API for what, as a policy says, into a file of JSON lines that is rotated.
//
// No request ever waits for it: events go through a bounded queue, one goroutine writes what has gathered in one piece, and what finds no
// room in the queue or on the disk is counted and said in the log (log.go, file.go).
//
// The package must not know: the API, what is in an event.
package audit
