package runtime

import "errors"

// ErrNotFound: the executor knows no such sandbox or container, or it has ended where a living one is needed.
var ErrNotFound = errors.New("not found")

// ErrNotRunning: the container exists but has ended.
var ErrNotRunning = errors.New("not running")
