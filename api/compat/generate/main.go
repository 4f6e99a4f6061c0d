package main

import (
	"fmt"
	"os"

	"github.com/peapod-sh/peapod/api/compat"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	uses, err := compat.Uses("../..", compat.Tags)
	if err != nil {
		return err
	}
	page, faults := compat.Page(uses)
	for _, f := range faults {
		fmt.Fprintln(os.Stderr, f)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d faults: see api/compat/verdicts.go", len(faults))
	}
	return os.WriteFile(os.Args[1], []byte(page), 0o600)
}
