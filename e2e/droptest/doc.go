// Package droptest shows on a real cluster, with traffic, that pods which go lose no request: by a rolling update, and when their
// node is drained.
package droptest
