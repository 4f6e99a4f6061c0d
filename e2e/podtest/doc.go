// Package podtest proves what a pod promises, on real containers of a lab of real nodes.
package podtest
