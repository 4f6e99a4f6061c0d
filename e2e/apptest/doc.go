// Package apptest proves, with the unmodified kubectl against a lab of real nodes, that workloads and the scheduler do what their users
// know from Kubernetes. Tests name the behaviours of the official conformance suite that they cover (AP053).
package apptest
