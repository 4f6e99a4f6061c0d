package server

import (
	"errors"
	"fmt"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

func TestEveryClusterIsFurnished(t *testing.T) {
	s := newTestServer(t, "a")
	s.start()
	c := s.client()
	eventually(t, "the cluster's own objects are there", func() error {
		ctx := within(t, 10*time.Second)
		for _, want := range api.SystemPriorityClasses() {
			got, err := c.SchedulingV1().PriorityClasses().Get(ctx, want.Name, metav1.GetOptions{})
			if err != nil || got.Value != want.Value || got.Generation != 1 {
				return fmt.Errorf("%+v, %v", got, err)
			}
		}
		cidr, err := c.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil || len(cidr.Spec.CIDRs) != 1 || !meta.IsStatusConditionTrue(cidr.Status.Conditions, "Ready") {
			return fmt.Errorf("%+v, %v", cidr, err)
		}
		levels, err := c.FlowcontrolV1().PriorityLevelConfigurations().List(ctx, metav1.ListOptions{})
		if m, more := api.PriorityLevels(); err != nil || len(levels.Items) != len(m)+len(more) {
			return fmt.Errorf("%d priority levels, %v", len(levels.Items), err)
		}
		schemas, err := c.FlowcontrolV1().FlowSchemas().List(ctx, metav1.ListOptions{})
		if m, more := api.FlowSchemas(); err != nil || len(schemas.Items) != len(m)+len(more) {
			return fmt.Errorf("%d flow schemas, %v", len(schemas.Items), err)
		}
		for _, f := range schemas.Items {
			if len(f.Status.Conditions) != 1 || f.Status.Conditions[0].Status != flowcontrolv1.ConditionFalse || f.Generation != 1 {
				return fmt.Errorf("flow schema %s: %+v", f.Name, f.Status)
			}
		}
		ip, err := c.NetworkingV1().IPAddresses().Get(ctx, s.server.cfg.Network.KubernetesVIP().String(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ip.Spec.ParentRef.Name != "kubernetes" {
			return errors.New("the address of the kubernetes service belongs to " + ip.Spec.ParentRef.Name)
		}
		return nil
	})
}

func TestFlowObjectsAreKept(t *testing.T) {
	mandatory, suggested := api.FlowSchemas()
	for _, c := range []struct {
		name      string
		want      *flowcontrolv1.FlowSchema
		mandatory bool
		change    func(*flowcontrolv1.FlowSchema)
		kept      bool // what was changed stays
	}{
		{"mandatory", mandatory[0], true, func(f *flowcontrolv1.FlowSchema) { setAutoUpdate(f, false) }, false},
		{"suggested, ours", suggested[0], false, func(f *flowcontrolv1.FlowSchema) { setAutoUpdate(f, true) }, false},
		{"suggested, theirs", suggested[0], false, func(f *flowcontrolv1.FlowSchema) { setAutoUpdate(f, false) }, true},
		{"suggested, never changed", suggested[0], false, func(f *flowcontrolv1.FlowSchema) { f.Annotations, f.Generation = nil, 1 }, false},
		{"suggested, changed", suggested[0], false, func(f *flowcontrolv1.FlowSchema) { f.Annotations, f.Generation = nil, 2 }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := c.want.DeepCopy()
			old.Generation = 3
			old.Spec.MatchingPrecedence++
			c.change(old)
			next := keepFlowObject(old, c.want, c.mandatory)
			f, _ := next.(*flowcontrolv1.FlowSchema)
			if f == nil {
				f = old
			}
			if kept := f.Spec.MatchingPrecedence == old.Spec.MatchingPrecedence; kept != c.kept {
				t.Fatalf("kept is %v: %+v", kept, f)
			}
			if !c.kept && f.Generation != old.Generation+1 {
				t.Errorf("generation %d after %d", f.Generation, old.Generation)
			}
			if again := keepFlowObject(f, c.want, c.mandatory); again != nil {
				t.Errorf("never content: %+v", again)
			}
		})
	}
}
