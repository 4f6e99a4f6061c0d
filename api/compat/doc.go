// Package compat writes docs/COMPATIBILITY.md: of every field of every built-in kind, whether something acts on it or says why not.
//
// That something acts on a field it sees in this module's own source: code of the servers, the scheduler or the agents reads it. A field
// that none of them reads must have a Verdict, which says what becomes of it; a Verdict for a field that somebody reads by now is a fault as
// well. So a new field of a new Kubernetes release, and a field whose reader was deleted, fail the test until somebody has looked at them.
//
// Reading is not understanding: that a field is acted on rightly is for the tests of whoever reads it.
package compat

//go:generate go run ./generate ../../docs/COMPATIBILITY.md
