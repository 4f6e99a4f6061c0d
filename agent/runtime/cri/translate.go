package cri

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/oci"
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
	if spec.OwnUsers {
		// Runtimes that do not know the field would run the pod as the node's root.
		return nil, errors.New("a pod with users of its own (hostUsers: false) runs on nodes with the embedded runtime only")
	}
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

// namespaces of a pod. A container has its own PID namespace unless the pod shares one, or has the host's.
func namespaces(spec runtime.SandboxSpec) *cri.NamespaceOption {
	own := cri.NamespaceMode_CONTAINER
	if spec.SharePID {
		own = cri.NamespaceMode_POD
	}
	mode := func(host bool, otherwise cri.NamespaceMode) cri.NamespaceMode {
		if host {
			return cri.NamespaceMode_NODE
		}
		return otherwise
	}
	return &cri.NamespaceOption{
		Network: mode(spec.HostNetwork, cri.NamespaceMode_POD),
		Pid:     mode(spec.HostPID, own),
		Ipc:     mode(spec.HostIPC, cri.NamespaceMode_POD),
	}
}

// place is where a container goes.
type place struct {
	frame    runtime.SandboxSpec
	owner    string
	target   string // the runtime's name of the container whose PID namespace is joined, "" for none
	recurses bool   // see settings
}

// containerConfig says spec in the interface's words.
func containerConfig(spec runtime.ContainerSpec, at place) (*cri.ContainerConfig, error) {
	user, err := security(spec, at)
	if err != nil {
		return nil, err
	}
	mounts, err := mountsOf(spec.Mounts, at.recurses)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: spec.Name, Attempt: uint32(spec.Attempt)},
		Image:    &cri.ImageSpec{Image: spec.Image},
		Command:  spec.Args, WorkingDir: spec.Cwd, Envs: envs(spec.Env), Mounts: mounts,
		Labels: map[string]string{labelOwner: at.owner, labelID: spec.ID, labelUID: spec.PodUID, labelPod: at.frame.Name,
			labelNamespace: at.frame.Namespace, labelContainer: spec.Name},
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

func security(spec runtime.ContainerSpec, at place) (*cri.LinuxContainerSecurityContext, error) {
	out := &cri.LinuxContainerSecurityContext{
		Privileged: spec.Privileged, ReadonlyRootfs: spec.ReadOnlyRootfs, NoNewPrivs: spec.NoNewPrivileges,
		NamespaceOptions: namespaces(at.frame), Seccomp: profile(spec.Seccomp), Apparmor: profile(spec.AppArmor),
	}
	if at.target != "" {
		out.NamespaceOptions.Pid, out.NamespaceOptions.TargetId = cri.NamespaceMode_TARGET, at.target
	}
	if !spec.Privileged && !spec.UnmaskedProc {
		// Whoever says nothing gets all of /proc from containerd.
		out.MaskedPaths, out.ReadonlyPaths = oci.ProtectedPaths()
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

// profile of seccomp or AppArmor.
func profile(name string) *cri.SecurityProfile {
	switch name {
	case "":
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}
	case runtime.ProfileDefault:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	}
	return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: name}
}

var propagations = map[runtime.Propagation]cri.MountPropagation{
	runtime.PropagateNone:     cri.MountPropagation_PROPAGATION_PRIVATE,
	runtime.PropagateFromHost: cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
	runtime.PropagateBoth:     cri.MountPropagation_PROPAGATION_BIDIRECTIONAL,
}

// mountsOf leaves /dev/shm to the runtime, which gives all containers of a pod the same. Other file systems than those of
// the node cannot be asked for through the interface.
func mountsOf(list []runtime.Mount, recurses bool) ([]*cri.Mount, error) {
	var out []*cri.Mount
	for _, m := range list {
		switch {
		case m.FSType != "" && m.Target == "/dev/shm":
		case m.FSType != "" || m.NoExec:
			return nil, fmt.Errorf("the mount at %s is of a kind that only the embedded runtime makes", m.Target)
		case m.RecursiveReadOnly && !recurses:
			return nil, fmt.Errorf("the mount at %s cannot be made read-only with what is mounted below it: the container runtime does not know how", m.Target)
		default:
			out = append(out, &cri.Mount{HostPath: m.Source, ContainerPath: m.Target, Readonly: m.ReadOnly,
				RecursiveReadOnly: m.RecursiveReadOnly, Propagation: propagations[m.Propagation]})
		}
	}
	return out, nil
}
