package registry

import "runtime"

// architecture is this machine's, whose programs the images are made of.
const architecture = runtime.GOARCH
