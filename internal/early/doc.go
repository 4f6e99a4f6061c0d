// Package early is what runs before everything else in the binary.
//
// Go initialises packages in the order of their import paths once their dependencies are ready, and
// this path sorts before k8s.io/. The process that becomes a container (`init`, started by libcontainer)
// leaves here, before hundreds of Kubernetes packages fill their tables: 20 to 30 ms saved a container.
// Within the package, files initialise in the order of their names: container.go before demo.go.
//
// It must not know: anything of Peapod's but what such a process needs.
package early
