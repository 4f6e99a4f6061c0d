// Package demo is what the embedded image peapod/demo runs: a small web server that shows where it
// runs and misbehaves when asked to, a shell, and the usual command line tools, all in the peapod
// binary itself and chosen by the name it is started under.
//
// The flow: internal/early calls Main before the Kubernetes libraries initialise; Main finds the tool
// of that name in the table (table.go) and runs it. A tool gets its arguments and the three streams
// and returns an exit code. The tools follow POSIX where they have the option, know the options that
// people type in a container, and refuse the others by name.
//
// It must not know: Kubernetes' packages, the agent, anything that takes time to initialise. `cat`
// must cost a few milliseconds; a test lists what may be imported.
package demo
