package fsm

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// podIndex finds the pods of a node: node -> keys, sorted, which take a third of the memory of a set. It is not part of a View.
type podIndex map[string][]string

func (x podIndex) move(key string, old, now *api.PodRecord) {
	if old != nil && old.Node == now.Node {
		return
	}
	if old != nil {
		x.remove(key, old)
	}
	if now.Node == "" {
		return
	}
	if i, found := slices.BinarySearch(x[now.Node], key); !found {
		x[now.Node] = slices.Insert(x[now.Node], i, key)
	}
}

func (x podIndex) remove(key string, old *api.PodRecord) {
	keys := x[old.Node]
	i, found := slices.BinarySearch(keys, key)
	switch {
	case !found:
	case len(keys) == 1:
		delete(x, old.Node)
	default:
		x[old.Node] = slices.Delete(keys, i, i+1)
	}
}

// uniqueIndex makes sure that no cluster IP and no node port belongs to two services.
type uniqueIndex struct {
	owner  map[string]string   // value -> key of the service that has it
	values map[string][]string // key -> its values; the inverse of owner
}

func newUniqueIndex() uniqueIndex {
	return uniqueIndex{owner: map[string]string{}, values: map[string][]string{}}
}

// claim gives the service all its values, or none and says which one is taken. Values that the
// service had and no longer wants become free.
func (x uniqueIndex) claim(key string, svc *corev1.Service) (ops.Outcome, string) {
	values := uniqueValues(svc)
	for _, v := range values {
		if owner, ok := x.owner[v]; ok && owner != key {
			ns, name := splitKey(owner)
			return ops.Taken, fmt.Sprintf("%s is already allocated to service %s/%s", v, ns, name)
		}
	}
	x.release(key)
	for _, v := range values {
		x.owner[v] = key
	}
	x.values[key] = values
	return ops.Applied, ""
}

func (x uniqueIndex) release(key string) {
	for _, v := range x.values[key] {
		delete(x.owner, v)
	}
	delete(x.values, key)
}

// uniqueValues names what a service occupies.
func uniqueValues(svc *corev1.Service) []string {
	var out []string
	for _, ip := range svc.Spec.ClusterIPs {
		if ip != "" && ip != corev1.ClusterIPNone {
			out = append(out, "cluster IP "+ip)
		}
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, fmt.Sprintf("node port %d/%s", p.NodePort, strings.ToLower(string(p.Protocol))))
		}
	}
	if n := svc.Spec.HealthCheckNodePort; n != 0 {
		out = append(out, fmt.Sprintf("node port %d/tcp", n))
	}
	return out
}
