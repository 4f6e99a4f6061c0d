// Package services makes the service proxy's table of the services, endpoint slices and nodes that a
// node agent watches.
//
// Main flow: Put and Delete take objects in; Table gives a new table when something has changed.
//
// It must not know: where the objects come from, or what the proxy does with the table.
package services
