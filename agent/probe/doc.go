// Package probe asks containers whether they have started, live and are ready.
//
// One goroutine keeps a heap of due times for all probes of a node; a bounded number of workers ask. A
// probe is never asked twice at a time. Its times are those of a ticker, whatever an answer takes, and come on a
// grid, so that a node wakes up for many probes at once. Thresholds are counted here; who hears the reports decides what
// they mean for the pod.
//
// It must not know: pods' lives, statuses, or how a command is run in a container.
package probe
