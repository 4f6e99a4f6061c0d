// Package extendtest proves, with the unmodified kubectl against a lab of real nodes, that people can extend the API as they know it from
// Kubernetes: with kinds of their own.
package extendtest
