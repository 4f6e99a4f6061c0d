// Package services makes the service proxy's table of the services, endpoint slices and nodes that a
// node agent watches.
//
// Main flow: Put and Delete take objects in, Reached says as of which revision that is all; Table gives a new table when something
// has changed. Left tells a pod that ends from when on no table has it.
//
// It must not know: where the objects come from, or what the proxy does with the table.
package services
