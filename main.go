// Command peapod is a distributed, Raft-replicated scheduler cluster that speaks the Kubernetes API.
package main

import (
	"os"

	// The containers' init and the embedded image's tools start here, before anything heavier.
	_ "github.com/peapod-sh/peapod/internal/early"
	_ "github.com/peapod-sh/peapod/internal/early/container"

	"github.com/peapod-sh/peapod/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
