// Package apptest proves, with the unmodified kubectl against a lab of real nodes, that StatefulSets and DaemonSets do what their users
// know from Kubernetes.
package apptest
