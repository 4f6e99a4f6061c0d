// Package processors keeps apart how many processors a process may use and how many Go runs goroutines on (GOMAXPROCS), which may be more.
//
// Who is always on a processor, as a proxy's loops or a server with more requests than it can serve at once, would otherwise have all of Go's, and
// what is short and urgent would wait for one at each of its steps. With some to spare it is the kernel that shares the machine, and it lets
// who has slept go first.
//
// It must not know: what the process does.
package processors
