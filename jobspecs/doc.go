// Package jobspecs turns job files into Kubernetes objects: HCL in Nomad's language for container
// tasks, HCL `manifest` blocks for any object, and YAML or JSON as they are.
//
// Main flow: Parse looks at the file's name; YAML and JSON are cut into documents (yaml.go). HCL is
// laid out so that blocks may stand on one line (oneline.go) and parsed; variables and locals become
// the evaluation context (vars.go); each block is read through the grammar, a table of every word
// with what to use in place of those that Peapod does not have (grammar.go, block.go). A job's groups
// become Deployments and Services or Jobs (group.go, task.go, service.go, batch.go). What only a node
// knows, like ${NOMAD_ALLOC_ID}, becomes an environment variable of the downward API (runtimevars.go).
//
// Faults never stop the reading: all are collected, and Errors shows each with its line.
//
// It must not know: clusters, clients, the file system, or what its objects are used for.
package jobspecs
