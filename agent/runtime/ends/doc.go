// Package ends is how executors hear of the ends of processes and hand them on.
//
// Main flow: a Watcher tells which process has ended; the executor learns how, writes that down, and puts it into
// an Outbox, from whose channel the agent takes it.
//
// It must not know: any executor.
package ends
