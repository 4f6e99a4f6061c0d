// Package kubetest has a kube.Store in memory, for tests of the façade and of what is built on it.
//
// It applies ops one by one under a lock, with the meaning that package ops gives them, and keeps
// a bounded number of changes for watchers. It knows Put and Delete only.
package kubetest
