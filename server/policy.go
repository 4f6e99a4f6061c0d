package server

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/server/rbac"
)

// policyState shows the replicated roles and bindings to those who decide by them.
type policyState struct {
	state                                             *fsm.FSM
	roles, bindings, clusterRoles, clusterRoleBinding func() uint64
}

func newPolicyState(f *fsm.FSM) *policyState {
	return &policyState{f, f.Changes(rbac.Roles), f.Changes(rbac.RoleBindings), f.Changes(rbac.ClusterRoles), f.Changes(rbac.ClusterRoleBindings)}
}

// Counts implements rbac.State.
func (p *policyState) Counts() rbac.Counts {
	return rbac.Counts{Roles: p.roles(), RoleBindings: p.bindings(), ClusterRoles: p.clusterRoles(), ClusterRoleBindings: p.clusterRoleBinding()}
}

// Policy implements rbac.State.
func (p *policyState) Policy() rbac.Policy {
	t, n := p.state.Tables(rbac.Roles, rbac.RoleBindings, rbac.ClusterRoles, rbac.ClusterRoleBindings)
	return rbac.Policy{Counts: rbac.Counts{Roles: n[0], RoleBindings: n[1], ClusterRoles: n[2], ClusterRoleBindings: n[3]},
		Roles: t[0], RoleBindings: t[1], ClusterRoles: t[2], ClusterRoleBindings: t[3]}
}

// policyTries bounds the races with users that the writing of the roles may lose.
const policyTries = 8

// foundPolicy writes the roles and bindings that every cluster has, where they are not there or have less than they should.
func (s *Server) foundPolicy(ctx context.Context) error {
	for range policyTries {
		list := rbac.Reconcile(newPolicyState(s.state).Policy(), rbac.Bootstrap())
		if len(list) == 0 {
			return nil
		}
		var puts []ops.Op
		for _, w := range list {
			put := &ops.Put{Resource: w.Resource, Object: w.Object, Expect: ops.Absent}
			if w.Old != nil {
				put.Expect = revisionOf(w.Old)
			} else {
				m := w.Object.(metav1.Object)
				m.SetUID(types.UID(uuid.NewUUID()))
				m.SetCreationTimestamp(metav1.NewTime(s.now()))
			}
			puts = append(puts, put)
		}
		if _, err := s.proposer.Propose(ctx, puts...); err != nil { // a conflict shows in the next round
			return fmt.Errorf("writing the roles that every cluster has: %w", err)
		}
	}
	return errors.New("the roles that every cluster has are being changed by others")
}

// aggregateRoles gives the roles that are made of others their rules, for one term.
func (s *Server) aggregateRoles(ctx context.Context) error {
	for {
		table := s.state.Table(rbac.ClusterRoles)
		if err := s.aggregateOnce(ctx, table); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot give aggregated roles their rules; will try again", "error", err)
		}
		changes, err := s.state.Watch(rbac.ClusterRoles, table.Revision())
		if err == nil {
			_, err = changes.Next(ctx)
		}
		if err != nil && !errors.Is(err, fsm.ErrTooOld) {
			return err
		}
	}
}

func (s *Server) aggregateOnce(ctx context.Context, table fsm.TableView) error {
	var roles []*rbacv1.ClusterRole
	table.Ascend("", "", func(_, _ string, o runtime.Object) bool {
		roles = append(roles, o.(*rbacv1.ClusterRole))
		return true
	})
	var puts []ops.Op
	for _, r := range rbac.Aggregate(roles) {
		puts = append(puts, &ops.Put{Resource: rbac.ClusterRoles, Object: r, Expect: revisionOf(r)})
	}
	if len(puts) == 0 {
		return nil
	}
	_, err := s.proposer.Propose(ctx, puts...) // what conflicts has changed, and is looked at again
	return err
}
