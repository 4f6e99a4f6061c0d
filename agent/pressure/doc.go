// Package pressure keeps a node from running out of memory, disk and process numbers: it watches what is left of each, says so
// in the node's conditions, has unused images and dead containers removed, and ends pods one by one if that is not enough.
//
// Thresholds, order and words are those of Kubernetes' node-pressure eviction
// (https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/).
//
// It must not know: how pods are ended, how usage is measured, or who hears of conditions.
package pressure
