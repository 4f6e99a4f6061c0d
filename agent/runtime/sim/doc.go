// Package sim is a runtime.Executor without processes: containers "run" until they are signalled. Nodes by
// the thousand run on it in one process.
//
// Main flow: a container is a few words in a map; signals that would end a program end it.
//
// It must not know: anything of a real machine.
package sim
