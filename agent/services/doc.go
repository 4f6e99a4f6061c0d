// Package services makes the service proxy's table of the services, endpoint slices and nodes that a
// node agent watches.
//
// Main flow: Put and Delete take objects in, Reached says as of which revision that is all; Table gives a new table when something
// has changed. Left tells a pod that ends from when on no table has it.
//
// Services are also reached from outside the cluster (outside.go): by external addresses, by those of load balancers, of which
// this node serves what it announces, and by health check node ports, which HealthChecks lists.
//
// It must not know: where the objects come from, or what the proxy does with the table.
package services
