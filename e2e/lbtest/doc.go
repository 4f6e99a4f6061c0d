// Package lbtest proves, with the unmodified kubectl against a lab of real nodes, how services are reached from outside the cluster:
// addresses of the pool and who announces them, external addresses, local policies, and what is kept of who may come.
package lbtest
