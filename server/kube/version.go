package kube

import (
	"runtime/debug"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// servedVersion is the Kubernetes version that clients see, instead of that of the libraries' build.
type servedVersion struct {
	compatibility.EffectiveVersion
	version string
}

func newServedVersion(v string) compatibility.EffectiveVersion {
	return servedVersion{compatibility.NewEffectiveVersionFromString(v, "", ""), v}
}

// Info is the answer of /version.
func (s servedVersion) Info() *version.Info {
	i := s.EffectiveVersion.Info()
	i.GitVersion, i.GitCommit, i.GitTreeState, i.BuildDate = "v"+s.version, "", "", "1970-01-01T00:00:00Z"
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, kv := range b.Settings {
			switch kv.Key {
			case "vcs.revision":
				i.GitCommit = kv.Value
			case "vcs.time":
				i.BuildDate = kv.Value
			case "vcs.modified":
				i.GitTreeState = map[string]string{"true": "dirty", "false": "clean"}[kv.Value]
			}
		}
	}
	return i
}
