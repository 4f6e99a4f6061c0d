package runtime

import "errors"

// ErrNotFound: the executor knows no such sandbox or container, or it has ended where a living one is needed.
var ErrNotFound = errors.New("not found")

// ErrNotRunning: the container exists but has ended.
var ErrNotRunning = errors.New("not running")

// ErrNoLease: the pod may run only while its node has a lease, and the node has none, or the pod was stopped for want of one.
var ErrNoLease = errors.New("the pod has no lease of the cluster's leader")
