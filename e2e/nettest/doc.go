// Package nettest has pods on networks other than the usual one: of CNI plugins, and of two families of addresses. Each test has a lab of its own.
package nettest
