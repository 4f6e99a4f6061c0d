package server

import (
	"context"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// housekeep does, for one term, what time alone asks for: objects whose time to live is over go, and
// the kubernetes service follows the members, and what every cluster has is there.
func (s *Server) housekeep(ctx context.Context) error {
	ticker := time.NewTicker(housekeepInterval)
	defer ticker.Stop()
	for rounds := 0; ; rounds++ {
		if err := s.apiEndpoints(ctx); err != nil {
			s.log.Warn("cannot bring the kubernetes service's endpoints up to date; will try again", "error", err)
		}
		if rounds%expireEvery == 0 {
			if err := s.foundKeyring(ctx); err != nil {
				s.log.Warn("nothing is encrypted on the servers' disks yet; will try again", "error", err)
			}
			if err := s.expire(ctx); err != nil {
				s.log.Warn("cannot remove expired objects; will try again", "error", err)
			}
			if err := s.furnish(ctx); err != nil {
				s.log.Warn("cannot bring the cluster's own objects up to date; will try again", "error", err)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) expire(ctx context.Context) error {
	var list []ops.Op
	for _, k := range api.Kinds() {
		if k.TTLSeconds > 0 {
			list = append(list, s.expired(k)...)
		}
	}
	list = append(list, s.staleRequests()...)
	for len(list) > 0 {
		n := min(len(list), entryProposalsMax)
		// Another may have deleted some: that is no fault.
		if _, err := s.proposer.Propose(ctx, list[:n]...); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// expired finds the objects of a kind that are too old, and the oldest of those namespaces that have
// too many.
func (s *Server) expired(k *api.Kind) []ops.Op {
	gr := k.GroupResource()
	limit := s.now().Add(-time.Duration(k.TTLSeconds) * time.Second)
	byNamespace := map[string][]aged{}
	s.state.Table(gr).Ascend("", "", func(namespace, name string, obj runtime.Object) bool {
		byNamespace[namespace] = append(byNamespace[namespace], aged{name, lastSeen(obj), revisionOf(obj)})
		return true
	})
	var out []ops.Op
	for namespace, all := range byNamespace {
		sort.Slice(all, func(i, j int) bool { return all[i].at.Before(all[j].at) })
		for i, e := range all {
			if e.at.Before(limit) || len(all)-i > eventsPerNamespaceMax {
				out = append(out, &ops.Delete{Resource: gr, Namespace: namespace, Name: e.name, Expect: e.revision})
			}
		}
	}
	return out
}

type aged struct {
	name     string
	at       time.Time
	revision uint64
}

// lastSeen is when an object was last of interest: an event's last occurrence, else its creation.
func lastSeen(obj runtime.Object) time.Time {
	m, err := meta.Accessor(obj)
	if err != nil {
		return time.Time{}
	}
	at := m.GetCreationTimestamp().Time
	if e, ok := obj.(*corev1.Event); ok {
		for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
			if t.After(at) {
				at = t
			}
		}
	}
	return at
}
