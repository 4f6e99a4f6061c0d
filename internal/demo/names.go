// Package demo is what the embedded image runs.
package demo

// Names lists the names under which the program is a tool.
func Names() []string { return []string{"demo", "sh", "cat"} }
