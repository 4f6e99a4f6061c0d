package runtime

import (
	"context"
	"io"
	"os"
	"syscall"
	"time"
)

// Executor runs sandboxes and containers on this node. All methods are safe for concurrent use,
// idempotent where a retry makes sense, and return once the kernel has done what was asked.
type Executor interface {
	// StartSandbox makes the pod's namespaces (network, IPC, UTS) and its cgroup and keeps them
	// alive without the agent. Called again for a living sandbox it returns that one.
	StartSandbox(ctx context.Context, spec SandboxSpec) (Sandbox, error)
	// RemoveSandbox kills whatever is left in the pod, and removes its containers, namespaces,
	// cgroups and mounts. Removing what is not there is no error.
	RemoveSandbox(ctx context.Context, podUID string) error
	// StartContainer creates and starts a container; its state is on disk before it runs.
	StartContainer(ctx context.Context, spec ContainerSpec) (Container, error)
	// Signal sends sig to the container's init process; SIGKILL goes to every process in it.
	Signal(ctx context.Context, containerID string, sig syscall.Signal) error
	// RemoveContainer deletes a container that has exited, with its writable layer. Logs stay.
	RemoveContainer(ctx context.Context, containerID string) error
	// Exec runs a command in a running container and waits for it. A non-zero exit code is no error.
	Exec(ctx context.Context, containerID string, spec ExecSpec) (exitCode int, err error)
	// Resize changes the limits and weights of a pod's cgroup, or of one of its running containers if containerID
	// is not empty. A memory limit below what is in use is refused and changes nothing.
	Resize(ctx context.Context, podUID, containerID string, r Resources) error
	// Stats tells what a pod uses, in all and by container; containers that have ended are left out.
	Stats(ctx context.Context, podUID string) (PodStats, error)
	// List tells what exists, also what an earlier agent left: running, and exited but not removed.
	List(ctx context.Context) ([]Sandbox, error)
	// Exits delivers every container's end once, also those that happened while no agent ran
	// (after the first List). The channel is closed when the executor is.
	Exits() <-chan Container
}

// SandboxSpec is a pod's frame.
type SandboxSpec struct {
	PodUID, Namespace, Name string
	Hostname                string // in the UTS namespace; ignored with HostNetwork
	HostNetwork             bool
	HostPID, HostIPC        bool
	SharePID                bool // one PID namespace for all containers, in which the sandbox reaps
	// OwnUsers gives the pod a user namespace of its own, which owns its other namespaces: root in it is nobody
	// on the node. It goes with none of the Host fields.
	OwnUsers  bool
	Resources Resources // of the whole pod; zero values mean no limit
	Sysctls   map[string]string
	// Handler is how the runtime is to run the pod, by the name that a RuntimeClass gives it; "" is the default. One that the runtime does
	// not have is an error that says: no runtime for "NAME" is configured.
	Handler string
	// Privileged: a container of it is. Runtimes that ask this of the sandbox want to know before.
	Privileged bool
}

// Sandbox is a living (or dead and not yet removed) pod frame.
type Sandbox struct {
	PodUID, Namespace, Name string
	NetNS                   string // a path, /proc/PID/ns/net; the host's with HostNetwork; "" if the sandbox is dead
	Created                 time.Time
	Containers              []Container
}

// Resources are limits and weights in the kernel's own terms. Zero means unset.
type Resources struct {
	CPUShares   uint64 // cgroup v1 shares, 2..262144 (v2 weight is derived)
	CPUQuota    int64  // microseconds a CPUPeriod
	CPUPeriod   uint64 // microseconds, 100000 if CPUQuota is set
	MemoryBytes int64
	PidsMax     int64
	OOMScoreAdj int
}

// Usage is what a cgroup and those below it use.
type Usage struct {
	Time             time.Time // of the reading
	CPUNanos         uint64    // of processor time since the cgroup was made
	MemoryBytes      uint64    // with the page cache
	WorkingSetBytes  uint64    // what cannot be dropped at once: memory without inactive file pages
	RSSBytes         uint64    // anonymous memory
	PageFaults       uint64
	MajorPageFaults  uint64
	SwapBytes        uint64
	Processes        uint64 // with threads
	ThrottledNanos   uint64 // for which the quota held it back
	ThrottledPeriods uint64
	Periods          uint64
}

// PodStats is a pod's usage, in all and by the ID of each running container.
type PodStats struct {
	Usage
	Containers map[string]Usage
}

// ContainerSpec is a container, resolved. ID is chosen by the caller and unique on the node.
type ContainerSpec struct {
	ID, PodUID, Name string
	Attempt          int      // 0 is the first start
	Layers           []string // unpacked layer directories, lowest first
	Image            string   // what an executor that keeps the images itself calls the image; Layers is nil then
	Args             []string // entrypoint and arguments; Args[0] is looked up in PATH of Env
	Env              []string // K=V
	Cwd              string   // "" is /
	UID, GID         uint32
	AdditionalGIDs   []uint32
	Mounts           []Mount
	Resources        Resources
	ReadOnlyRootfs   bool
	Privileged       bool
	NoNewPrivileges  bool
	CapAdd, CapDrop  []string // names as in Kubernetes: NET_ADMIN; ALL is known
	TTY, Stdin       bool
	StdinOnce        bool // the first client's end of input is the container's
	// Seccomp is the profile: "" for none, ProfileDefault, or the absolute path of a file in the form of the OCI's
	// runtime specification. AppArmor is the name of a profile that the kernel knows, ProfileDefault, or "" for none.
	Seccomp, AppArmor string
	// UnmaskedProc shows all of /proc, writable where the user may write.
	UnmaskedProc bool
	// TargetID is another container of the pod, whose PID namespace this one joins: for debugging.
	TargetID string
	// User, UID[:GID] or NAME[:GID], is for an executor that keeps the images itself and so looks names and groups up in
	// them; "" is the image's own user. UID and GID are not asked then.
	User string
	// LogPath is the CRI-format log file; its directory exists.
	LogPath string
}

// ProfileDefault names the executor's own profile of seccomp or AppArmor.
const ProfileDefault = "runtime/default"

// Mount binds a host path into the container. Source "" with FSType tmpfs mounts a tmpfs.
type Mount struct {
	Source, Target string
	FSType         string // "" is a bind mount
	ReadOnly       bool
	NoExec         bool // bind mounts only: no program in it can be started
	// RecursiveReadOnly holds for the mounts below Source too. It needs ReadOnly and Linux 5.12.
	RecursiveReadOnly bool
	Propagation       Propagation
	SizeBytes         int64 // tmpfs only
}

// Propagation says which later mounts below a bind mount are seen on its other side.
type Propagation uint8

// The propagations, as Kubernetes names them: None, HostToContainer, Bidirectional.
const (
	PropagateNone Propagation = iota
	PropagateFromHost
	PropagateBoth
)

// Container is a container's state.
type Container struct {
	ID, PodUID, Name string
	Attempt          int
	Running          bool
	PID              int // of its init process on the host, while running
	Started          time.Time
	// Set when it has ended. ExitCode is 128+n after signal n; -1 when it could not be learnt.
	Finished  time.Time
	ExitCode  int
	Signal    int
	OOMKilled bool
}

// BufferedBytes is how much of a command's buffered output comes at least, if it writes as much.
const BufferedBytes = 16 << 10

// ExecSpec is one command in a container. Nil streams are /dev/null. With TTY, Stdout carries both
// streams and Resize the terminal's sizes until closed.
type ExecSpec struct {
	Args   []string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	TTY    bool
	Resize <-chan WindowSize
	// Buffered output may come all at once when the command has ended; more than BufferedBytes of it may be lost.
	Buffered bool
	// Files, where set, are handed to the process as they are, without a copying goroutine.
	StdinFile, StdoutFile, StderrFile *os.File
}

// WindowSize of a terminal, in character cells.
type WindowSize struct{ Width, Height uint16 }
