// Package main is an operator as people write them with controller-runtime: a kind of its own, a leader among its pods, admission webhooks that
// its pods serve, and a finalizer. Nothing in it knows Peapod; e2e/clienttest runs it in pods.
package main
