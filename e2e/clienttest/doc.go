// Package clienttest proves that clients which nobody here wrote work, unmodified, against a lab of real nodes: helm, kustomize, stern, k9s, programs of
// client-go, an operator of controller-runtime. e2e/clients pins the versions of those that are programs; docs/CLIENTS.md says how to run each.
package clienttest
