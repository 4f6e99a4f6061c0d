package version

import "runtime"

// Version of this binary, as `git describe` gives it; "dev" if it was built without.
var Version = "dev"

// Kubernetes is the API version that Peapod speaks.
const Kubernetes = "v1.37.2"

// Git is the version that the API server reports: Kubernetes' with ours as build metadata.
func Git() string { return Kubernetes + "+peapod" }

// String is the line that `peapod version` prints first.
func String() string {
	return "peapod " + Version + " (Kubernetes API " + Kubernetes + ", " + runtime.Version() + ")"
}
