package server

import (
	"context"
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

var serviceCIDRs = schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}

// defaultServiceCIDR is the name of the range that the cluster was founded with.
const defaultServiceCIDR = "kubernetes"

// furnish writes what every cluster has beside its namespaces and roles, where it is missing or has been changed and must not be. A
// leader does it when its term begins, and now and then.
func (s *Server) furnish(ctx context.Context) error {
	var list []ops.Op
	for _, c := range api.SystemPriorityClasses() {
		list = append(list, s.unlessThere(schedulingv1.GroupName, "priorityclasses", c)...)
	}
	cidr, err := s.serviceCIDR()
	if err != nil {
		return err
	}
	list = append(list, cidr...)
	authentication, err := s.authenticationMap()
	if err != nil {
		return err
	}
	list = append(list, authentication...)
	list = append(list, s.flowControl()...)
	if err := s.attempt(ctx, list); err != nil {
		return fmt.Errorf("writing the objects that every cluster has: %w", err)
	}
	return nil
}

// attempt commits ops of which some may be refused, since somebody else was faster: those are looked at again next time.
func (s *Server) attempt(ctx context.Context, list []ops.Op) error {
	if len(list) == 0 {
		return nil
	}
	_, err := s.proposer.Propose(ctx, list...)
	return err
}

// serviceCIDR is the range that services have their addresses from, as an object that says so and is ready.
func (s *Server) serviceCIDR() ([]ops.Op, error) {
	network, err := s.meta.network()
	if err != nil {
		return nil, err
	}
	old, there := s.state.Get(serviceCIDRs, "", defaultServiceCIDR)
	if !there {
		c := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: defaultServiceCIDR},
			Spec: networkingv1.ServiceCIDRSpec{CIDRs: network.ServiceCIDRs()}}
		s.setCIDRReady(c)
		return s.unlessThere(networkingv1.GroupName, "servicecidrs", c), nil
	}
	c := old.(*networkingv1.ServiceCIDR)
	if c.DeletionTimestamp != nil || meta.IsStatusConditionTrue(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
		return nil, nil
	}
	c = c.DeepCopy()
	s.setCIDRReady(c)
	return []ops.Op{&ops.Put{Resource: serviceCIDRs, Object: c, Expect: revisionOf(old)}}, nil
}

func (s *Server) setCIDRReady(c *networkingv1.ServiceCIDR) {
	meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue,
		Message: "Kubernetes default Service CIDR is ready", LastTransitionTime: metav1.NewTime(s.now().Truncate(time.Second))})
}
