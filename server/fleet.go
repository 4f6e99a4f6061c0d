package server

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// nodesOf are the nodes for which an agent speaks: its own, or those of its fleet that it names by their numbers.
func nodesOf(p rpc.Peer, numbers []wire.Numbers) ([]string, error) {
	if p.Role == pki.RoleNode {
		return []string{p.Name}, nil
	}
	var out []string
	for _, r := range numbers {
		if r.First < 1 || r.Last < r.First || len(out)+r.Last-r.First >= fleetNodesMax {
			return nil, rpc.Errorf(rpc.CodeInvalid, "nodes %d to %d: numbers are from 1 to %d", r.First, r.Last, fleetNodesMax)
		}
		for i := r.First; i <= r.Last; i++ {
			out = append(out, p.Name+"-"+strconv.Itoa(i))
		}
	}
	return out, nil
}

// speaksFor says whether an agent may say what a node is and does. A fleet has the names with its own and a number, unless a real
// node has one.
func (s *Server) speaksFor(p rpc.Peer, node string) bool {
	if p.Role == pki.RoleNode {
		return p.Name == node
	}
	number, ok := strings.CutPrefix(node, p.Name+"-")
	if n, err := strconv.Atoi(number); !ok || err != nil || n < 1 || strconv.Itoa(n) != number {
		return false
	}
	o, exists := s.state.Get(nodesResource, "", node)
	return !exists || o.(*corev1.Node).Labels[api.SimulatedLabel] == "true"
}

// agentMayWrite allows nodes what nodeMayWrite does, and fleets the statuses and deletions of their pods.
func (s *Server) agentMayWrite(p rpc.Peer, op ops.Op) error {
	if p.Role == pki.RoleNode {
		return s.nodeMayWrite(p.Name, op)
	}
	switch op.(type) {
	case *ops.PodStatuses, *ops.DeletePods:
		known := map[string]bool{} // what was found out of a node for this op
		return s.ownPods(func(node string) bool {
			own, asked := known[node]
			if !asked {
				own = s.speaksFor(p, node)
				known[node] = own
			}
			return own
		}, op)
	}
	return fmt.Errorf("%s may not propose a %T", p, op)
}

// concernsFleet says whether there is something to do about a pod: it is to be reported running, or gone. A fleet keeps nothing else of it,
// so of nothing else it hears, not even when its watch begins: a new leader of a million pods has better things to do.
func concernsFleet(p *api.PodRecord) bool {
	return p != nil && (p.Deleting() || p.Phase() == corev1.PodPending || p.Phase() == "")
}
