package lab

import (
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Addresses of the nodes: a range of last bytes for each role.
const (
	firstServerByte = 11
	firstClientByte = 21
	simByte         = 99
	rpcPort         = 7440
	apiPort         = 6443
)

// plan says what a lab of these options in this place consists of.
func plan(o Options, p place) *state {
	s := &state{Name: o.Name, Binary: o.Binary, Bridge: p.bridge, Subnet: p.subnet, Kubeconfig: o.Kubeconfig, Created: time.Now(), SimNodes: o.SimNodes}
	if o.DualStack {
		s.Subnet6 = subnet6(p.index)
	}
	add := func(name, role string, last int) {
		n := Node{
			Name: name, Role: role, Address: hostAddress(p.subnet, byte(last)),
			Namespace: namespace(o.Name, name), Link: fmt.Sprintf("pl%d-%s", p.index, name),
			Cgroup: path.Join(cgroupRoot, o.Name, name), Dir: filepath.Join(o.Dir, name),
		}
		n.Args = agentArgs(o, n, hostAddress(p.subnet, firstServerByte), len(s.Nodes) == 0)
		s.Nodes = append(s.Nodes, n)
	}
	role := RoleServer
	if o.Dual {
		role = RoleDual
	}
	for i := range o.Servers {
		add(fmt.Sprintf("server%d", i+1), role, firstServerByte+i)
	}
	for i := range o.Clients {
		add(fmt.Sprintf("client%d", i+1), RoleClient, firstClientByte+i)
	}
	if o.SimNodes > 0 {
		add("sim", RoleSim, simByte)
	}
	return s
}

func namespace(lab, node string) string { return "pp-" + lab + "-" + node }

// Networks of a lab of both families.
const (
	labPods     = "10.42.0.0/16,fd00:42::/48"
	labServices = "10.43.0.0/16,fd00:43::/112"
)

// nodeMark in an argument for all clients stands for the name of each.
const nodeMark = "{node}"

// labEviction is what a node of a lab ends pods for.
const labEviction = "memory.available<100Mi"

func agentArgs(o Options, n Node, first netip.Addr, founder bool) []string {
	args := []string{"agent", "--name", n.Name, "--data-dir", n.DataDir(), "--bind", n.Address.String()}
	if n.IsServer() {
		args = append(args, "--server")
		if o.DualStack {
			args = append(args, "--cluster-cidr", labPods, "--service-cidr", labServices)
		}
	}
	if n.IsClient() {
		args = append(args, "--client", "--cgroup-root", path.Join(n.Cgroup, "pods"))
		// The disk is its owner's and may be as full as it likes: a lab neither ends pods nor removes images for it.
		args = append(args, "--eviction-hard", labEviction, "--image-gc-high-threshold", "100")
		for _, m := range o.Mirrors {
			args = append(args, "--mirror", m)
		}
	}
	if n.Role == RoleSim {
		args = append(args, "--sim", strconv.Itoa(o.SimNodes))
		if o.SimPods > 0 {
			args = append(args, "--sim-pods", strconv.Itoa(o.SimPods))
		}
	}
	if !founder {
		args = append(args, "--join", netip.AddrPortFrom(first, rpcPort).String())
	}
	if o.LogLevel != "" {
		args = append(args, "--log-level", o.LogLevel)
	}
	var more []string
	if n.IsServer() {
		more = append(more, o.ServerArgs...)
	}
	if n.IsClient() {
		more = append(more, o.ClientArgs...)
	}
	for _, a := range more {
		args = append(args, strings.ReplaceAll(a, nodeMark, n.Name))
	}
	return args
}
