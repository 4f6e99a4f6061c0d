// Package cli is the command line: peapod's own commands beside kubectl's.
//
// Main flow: Main builds kubectl's own command tree from its library, renames it, adds the commands
// that are ours, and runs it. Files ending in .hcl given with -f are turned into YAML first, so every
// kubectl command reads them.
//
// It must not know: how anything is done.
package cli
