// Package hcl lets kubectl's commands read HCL: Translate finds the files that a command line names
// with -f, turns those ending in .hcl or .nomad into temporary YAML files, and gives back the command
// line with these in their place.
//
// It must not know: which commands there are, or clusters.
package hcl
