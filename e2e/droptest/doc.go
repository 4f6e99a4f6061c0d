// Package droptest shows on a real cluster, with traffic, that pods which go lose no request: by a rolling update, and when their
// node is drained. And that a machine which dies takes only the requests with it that were on their way.
package droptest
