// Package container is where the process that becomes a container (`peapod init`, started by libcontainer) leaves the binary's start.
//
// Best before Go's runtime starts: a C constructor (hop.c) changes over to the small program of internal/cinit, if the agent has named it.
// Else as early as Go allows: Go initialises packages in the order of their import paths, each once its dependencies are ready. This path sorts before those
// of Kubernetes, and the package depends on nothing but libcontainer, so that hundreds of packages do
// not fill their tables in a process that will never read them: 20 to 30 ms saved a container.
//
// It must not know: anything of Peapod's.
package container
