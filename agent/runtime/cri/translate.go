package cri

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Labels and annotations of what is ours. Those of io.kubernetes are what other tools know a pod's containers by.
const (
	labelOwner     = "peapod.io/owner" // the cgroup parent: one runtime may serve several nodes, and others besides
	labelID        = "peapod.io/container-id"
	labelUID       = "io.kubernetes.pod.uid"
	labelPod       = "io.kubernetes.pod.name"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelContainer = "io.kubernetes.container.name"
	// annotationSpec of a sandbox is its SandboxSpec as JSON: its containers must repeat parts of it.
	annotationSpec = "peapod.io/sandbox"
)

// sandboxConfig says spec in the interface's words. cgroup is the pod's.
func sandboxConfig(spec runtime.SandboxSpec, owner, cgroup string) (*cri.PodSandboxConfig, error) {
	kept, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	out := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: spec.Name, Uid: spec.PodUID, Namespace: spec.Namespace},
		// The paths of logs are the agent's affair: containers name theirs in full.
		LogDirectory: "/",
		Labels:       map[string]string{labelOwner: owner, labelUID: spec.PodUID, labelPod: spec.Name, labelNamespace: spec.Namespace},
		Annotations:  map[string]string{annotationSpec: string(kept)},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: cgroup,
			Sysctls:      spec.Sysctls,
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: namespaces(spec), Privileged: spec.Privileged,
			},
		},
	}
	if !spec.HostNetwork {
		out.Hostname = spec.Hostname
	}
	return out, nil
}

// namespaces of a pod. A container has its own PID namespace unless the pod has the host's.
func namespaces(spec runtime.SandboxSpec) *cri.NamespaceOption {
	mode := func(host bool, otherwise cri.NamespaceMode) cri.NamespaceMode {
		if host {
			return cri.NamespaceMode_NODE
		}
		return otherwise
	}
	return &cri.NamespaceOption{
		Network: mode(spec.HostNetwork, cri.NamespaceMode_POD),
		Pid:     mode(spec.HostPID, cri.NamespaceMode_CONTAINER),
		Ipc:     mode(spec.HostIPC, cri.NamespaceMode_POD),
	}
}

// containerConfig says spec in the interface's words, in a sandbox made of frame.
func containerConfig(spec runtime.ContainerSpec, frame runtime.SandboxSpec, owner string) (*cri.ContainerConfig, error) {
	user, err := security(spec, frame)
	if err != nil {
		return nil, err
	}
	mounts, err := mountsOf(spec.Mounts)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: spec.Name, Attempt: uint32(spec.Attempt)},
		Image:    &cri.ImageSpec{Image: spec.Image},
		Command:  spec.Args, WorkingDir: spec.Cwd, Envs: envs(spec.Env), Mounts: mounts,
		Labels: map[string]string{labelOwner: owner, labelID: spec.ID, labelUID: spec.PodUID, labelPod: frame.Name,
			labelNamespace: frame.Namespace, labelContainer: spec.Name},
		LogPath: strings.TrimPrefix(spec.LogPath, "/"),
		Stdin:   spec.Stdin, StdinOnce: spec.StdinOnce, Tty: spec.TTY,
		Linux: &cri.LinuxContainerConfig{Resources: resources(spec.Resources), SecurityContext: user},
	}, nil
}

func envs(list []string) []*cri.KeyValue {
	out := make([]*cri.KeyValue, 0, len(list))
	for _, e := range list {
		k, v, _ := strings.Cut(e, "=")
		out = append(out, &cri.KeyValue{Key: k, Value: []byte(v)})
	}
	return out
}

// resources: zero is unset in both vocabularies.
func resources(r runtime.Resources) *cri.LinuxContainerResources {
	return &cri.LinuxContainerResources{CpuPeriod: int64(r.CPUPeriod), CpuQuota: r.CPUQuota, CpuShares: int64(r.CPUShares),
		MemoryLimitInBytes: r.MemoryBytes, OomScoreAdj: int64(r.OOMScoreAdj)}
}

func security(spec runtime.ContainerSpec, frame runtime.SandboxSpec) (*cri.LinuxContainerSecurityContext, error) {
	out := &cri.LinuxContainerSecurityContext{
		Privileged: spec.Privileged, ReadonlyRootfs: spec.ReadOnlyRootfs, NoNewPrivs: spec.NoNewPrivileges,
		NamespaceOptions: namespaces(frame),
	}
	if !spec.Privileged {
		out.Capabilities = &cri.Capability{AddCapabilities: spec.CapAdd, DropCapabilities: spec.CapDrop}
	}
	for _, g := range spec.AdditionalGIDs {
		out.SupplementalGroups = append(out.SupplementalGroups, int64(g))
	}
	name, group, _ := strings.Cut(spec.User, ":")
	if uid, err := strconv.ParseInt(name, 10, 64); err == nil {
		out.RunAsUser = &cri.Int64Value{Value: uid}
	} else {
		out.RunAsUsername = name
	}
	if group != "" {
		gid, err := strconv.ParseInt(group, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the user %q has a group that is no number", spec.User)
		}
		out.RunAsGroup = &cri.Int64Value{Value: gid}
	}
	return out, nil
}

// mountsOf leaves /dev/shm to the runtime, which gives all containers of a pod the same. Other file systems than those of
// the node cannot be asked for through the interface.
func mountsOf(list []runtime.Mount) ([]*cri.Mount, error) {
	var out []*cri.Mount
	for _, m := range list {
		switch {
		case m.FSType == "":
			out = append(out, &cri.Mount{HostPath: m.Source, ContainerPath: m.Target, Readonly: m.ReadOnly})
		case m.Target != "/dev/shm":
			return nil, fmt.Errorf("the mount at %s has the type %q: only paths of the node can be mounted by a runtime of its own", m.Target, m.FSType)
		}
	}
	return out, nil
}
