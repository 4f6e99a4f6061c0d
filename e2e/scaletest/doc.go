// Package scaletest takes nodes away from pods and pods away from nodes: drains, taints, autoscalers and rebalancing, with the real
// kubectl, on a lab of its own.
package scaletest
