// Package ingresstest shows on a real cluster that nodes serve ingresses: by host, path and certificate, through rollouts.
package ingresstest
