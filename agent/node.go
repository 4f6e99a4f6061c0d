package agent

import (
	"bytes"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

// kubeletVersion is the Kubernetes release whose behaviour the agent has.
const kubeletVersion = "v1.37.2+peapod"

// nodeFacts are what the machine gives, read once.
type nodeFacts struct {
	milliCPU int64
	memory   int64 // bytes
	disk     int64 // bytes
	// hugePages are the bytes set apart for pages of each size that the machine has, by the resource's name.
	hugePages map[corev1.ResourceName]int64
}

func newNodeFacts(dataDir string) *nodeFacts {
	f := &nodeFacts{milliCPU: int64(goruntime.NumCPU()) * 1000, memory: Memory(), hugePages: hugePages("/sys/kernel/mm/hugepages")}
	if q := cgroupCPU(); q > 0 {
		f.milliCPU = min(f.milliCPU, q)
	}
	if dataDir == "" {
		dataDir = "/"
	}
	for unix.Access(dataDir, unix.F_OK) != nil && dataDir != "/" && dataDir != "." {
		dataDir = filepath.Dir(dataDir)
	}
	var st unix.Statfs_t
	if unix.Statfs(dataDir, &st) == nil {
		f.disk = int64(st.Blocks) * st.Bsize
	}
	return f
}

// Memory is how many bytes this process and those that it starts may use: what the machine has, or less if its cgroup has a limit.
func Memory() int64 {
	m := memTotal()
	if limit := cgroupMemory(); limit > 0 {
		m = min(m, limit)
	}
	return m
}

func memTotal() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(si.Totalram) * int64(si.Unit)
}

// cgroupMemory is the limit of the agent's own cgroup, on v2 or v1; 0 is none.
func cgroupMemory() int64 {
	for _, file := range cgroupFiles("memory", "memory.max", "memory.limit_in_bytes") {
		if n := readInt(file); n > 0 && n < 1<<60 {
			return n
		}
	}
	return 0
}

// cgroupCPU is the quota of the agent's own cgroup in thousandths of a CPU; 0 is none.
func cgroupCPU() int64 {
	for _, file := range cgroupFiles("cpu", "cpu.max", "cpu.cfs_quota_us") {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b))
		if len(fields) == 1 { // v1: the period is in a file beside it
			if p := readInt(filepath.Join(filepath.Dir(file), "cpu.cfs_period_us")); p > 0 {
				fields = append(fields, strconv.FormatInt(p, 10))
			}
		}
		if len(fields) != 2 {
			continue
		}
		quota, _ := strconv.ParseInt(fields[0], 10, 64) // "max" reads as 0
		period, _ := strconv.ParseInt(fields[1], 10, 64)
		if quota > 0 && period > 0 {
			return quota * 1000 / period
		}
	}
	return 0
}

// cgroupFiles names where this process's cgroup may keep a limit: the v2 file, then the v1 file.
func cgroupFiles(controller, v2, v1 string) []string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var out []string
	for _, line := range bytes.Split(b, []byte("\n")) {
		f := strings.SplitN(string(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[1] == "":
			out = append(out, filepath.Join("/sys/fs/cgroup", f[2], v2))
		case strings.Contains(","+f[1]+",", ","+controller+","):
			out = append(out, filepath.Join("/sys/fs/cgroup", controller, f[2], v1))
		}
	}
	return out
}

func readInt(file string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// hugePages reads what the kernel has set apart: a folder a size, named after its kibibytes.
func hugePages(dir string) map[corev1.ResourceName]int64 {
	out := map[corev1.ResourceName]int64{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return out // a kernel without them
	}
	for _, e := range entries {
		text := strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB")
		kibibytes, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue
		}
		size := resource.NewQuantity(kibibytes<<10, resource.BinarySI)
		out[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())] = readInt(filepath.Join(dir, e.Name(), "nr_hugepages")) * size.Value()
	}
	return out
}

func (f *nodeFacts) capacity(pods int64) corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewMilliQuantity(f.milliCPU, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(f.memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(f.disk, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(pods, resource.DecimalSI),
	}
	for name, bytes := range f.hugePages {
		out[name] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return out
}

// allocatable keeps a tenth of the disk and 100 MiB of memory back for the node itself. Huge pages are no memory for others.
func (f *nodeFacts) allocatable(pods int64) corev1.ResourceList {
	reserved := *f
	reserved.memory = f.memory - min(100<<20, f.memory/10)
	for _, bytes := range f.hugePages {
		reserved.memory -= bytes
	}
	reserved.memory = max(0, reserved.memory)
	reserved.disk = f.disk - f.disk/10
	return reserved.capacity(pods)
}

// NodeObject is the node as the agent would like the cluster to see it. Its conditions are what the agent
// can say at start; the cluster's leader owns Ready from then on.
func (a *Agent) NodeObject() *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.cfg.NodeName, Labels: map[string]string{
			corev1.LabelHostname: a.cfg.NodeName, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
			"beta.kubernetes.io/os": goruntime.GOOS, "beta.kubernetes.io/arch": goruntime.GOARCH, // which old manifests select by
		}},
		Status: corev1.NodeStatus{
			Capacity: a.node.capacity(a.cfg.PodsMax), Allocatable: a.node.allocatable(a.cfg.PodsMax),
			NodeInfo: nodeSystemInfo(a.cfg.Version, a.cfg.Runtime), Conditions: a.nodeConditions(),
			Addresses:       []corev1.NodeAddress{},
			RuntimeHandlers: a.runtimeHandlers(),
			Features:        &corev1.NodeFeatures{SupplementalGroupsPolicy: &[]bool{a.embedded()}[0]},
		},
	}
	if a.cfg.DataDir != "" {
		n.Annotations = map[string]string{api.LocalPathAnnotation: a.localVolumes()}
	}
	for _, ip := range a.cfg.NodeIPs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: a.cfg.NodeName})
	return n
}

func (a *Agent) runtimeHandlers() (out []corev1.NodeRuntimeHandler) {
	users := a.cfg.DataDir != "" && a.embedded()
	for _, name := range append([]string{""}, a.cfg.Handlers...) {
		out = append(out, corev1.NodeRuntimeHandler{Name: name, Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: &a.cfg.RecursiveReadOnly, UserNamespaces: &users}})
	}
	return out
}

// embedded says whether pods run by the runtime in this binary.
func (a *Agent) embedded() bool { return a.cfg.Runtime == "" }

// nodeConditions says of each kind of pressure whether the node is under it.
func (a *Agent) nodeConditions() []corev1.NodeCondition {
	now := metav1.Now()
	cond := func(t corev1.NodeConditionType, s corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: t, Status: s, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	var out []corev1.NodeCondition
	for _, p := range []struct {
		kind                            corev1.NodeConditionType
		reason, message, calm, calmText string
	}{
		{corev1.NodeMemoryPressure, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
		{corev1.NodeDiskPressure, "KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
		{corev1.NodePIDPressure, "KubeletHasInsufficientPID", "kubelet has insufficient PID available", "KubeletHasSufficientPID", "kubelet has sufficient PID available"},
	} {
		if a.pressure != nil && a.pressure.Has(p.kind) {
			out = append(out, cond(p.kind, corev1.ConditionTrue, p.reason, p.message))
		} else {
			out = append(out, cond(p.kind, corev1.ConditionFalse, p.calm, p.calmText))
		}
	}
	return append(out, cond(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"))
}

func nodeSystemInfo(version, engine string) corev1.NodeSystemInfo {
	if version == "" {
		version = "dev"
	}
	if engine == "" {
		engine = "peapod://" + version
	}
	return corev1.NodeSystemInfo{
		MachineID: readWord("/etc/machine-id"), SystemUUID: readWord("/sys/class/dmi/id/product_uuid"),
		BootID: readWord("/proc/sys/kernel/random/boot_id"), KernelVersion: readWord("/proc/sys/kernel/osrelease"),
		OSImage: osImage(), OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
		ContainerRuntimeVersion: engine, KubeletVersion: kubeletVersion,
	}
}

func readWord(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func osImage() string {
	for line := range strings.Lines(readWord("/etc/os-release")) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return goruntime.GOOS
}
