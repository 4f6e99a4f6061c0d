package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// client does the order in its argument and prints the result.
func client(arg string) error {
	var o order
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		return err
	}
	runtime.GOMAXPROCS(8)
	debug.SetGCPercent(-1)
	if o.Kind == "idle" {
		return idle(o)
	}
	r, err := load(o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// idle opens connections and holds them until its input ends.
func idle(o order) error {
	for i := range o.Conns {
		if _, err := dialled(o.To); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}
