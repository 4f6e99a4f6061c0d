package main

import (
	"github.com/opencontainers/runc/libcontainer"
	// The C constructor that joins namespaces while the process has one thread.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

func main() { libcontainer.Init() } // becomes the container's program, or exits
