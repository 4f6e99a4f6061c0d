package server

import (
	"fmt"
	"strconv"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

var (
	flowSchemas    = schema.GroupResource{Group: flowcontrolv1.GroupName, Resource: "flowschemas"}
	priorityLevels = schema.GroupResource{Group: flowcontrolv1.GroupName, Resource: "prioritylevelconfigurations"}
)

// flowControl makes the flow schemas and priority levels of every cluster be there and say what they should: the mandatory ones
// always, the suggested ones unless somebody has changed them. (Requests are limited by one number, limits.go in kube; these objects
// are what tools expect to find.)
func (s *Server) flowControl() (out []ops.Op) {
	mandatoryLevels, suggestedLevels := api.PriorityLevels()
	out = append(out, keepFlowObjects(s, priorityLevels, mandatoryLevels, true)...)
	out = append(out, keepFlowObjects(s, priorityLevels, suggestedLevels, false)...)
	mandatory, suggested := api.FlowSchemas()
	out = append(out, keepFlowObjects(s, flowSchemas, mandatory, true)...)
	return append(out, keepFlowObjects(s, flowSchemas, suggested, false)...)
}

// flowObject is a flow schema or a priority level.
type flowObject interface {
	runtime.Object
	metav1.Object
}

func keepFlowObjects[T flowObject](s *Server, gr schema.GroupResource, list []T, mandatory bool) (out []ops.Op) {
	for _, want := range list {
		api.KindFor(gr).Default(want)
		old, there := s.state.Get(gr, "", want.GetName())
		if !there {
			setAutoUpdate(want, true)
			out = append(out, s.unlessThere(gr.Group, gr.Resource, want)...)
			continue
		}
		if next := keepFlowObject(old.(flowObject), want, mandatory); next != nil {
			out = append(out, &ops.Put{Resource: gr, Object: next, Expect: revisionOf(old)})
		}
	}
	return out
}

// keepFlowObject is what an object should be; nil if that is what it is. Who owns the spec of a suggested one is noted in an
// annotation; where that is missing, a spec that was never changed is the cluster's.
func keepFlowObject(old, want flowObject, mandatory bool) flowObject {
	next := old.DeepCopyObject().(flowObject)
	ours, err := strconv.ParseBool(old.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	if err != nil {
		ours = old.GetGeneration() == 1
	}
	ours = ours || mandatory
	setAutoUpdate(next, ours)
	if ours && takeSpec(next, want) {
		next.SetGeneration(old.GetGeneration() + 1)
	}
	if equality.Semantic.DeepEqual(next, old) {
		return nil
	}
	return next
}

func setAutoUpdate(o flowObject, ours bool) {
	a := o.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(ours)
	o.SetAnnotations(a)
}

// takeSpec copies a spec, and reports whether it was another one.
func takeSpec(dst, src flowObject) bool {
	switch d := dst.(type) {
	case *flowcontrolv1.FlowSchema:
		was := d.Spec
		src.(*flowcontrolv1.FlowSchema).Spec.DeepCopyInto(&d.Spec)
		return !equality.Semantic.DeepEqual(was, d.Spec)
	case *flowcontrolv1.PriorityLevelConfiguration:
		was := d.Spec
		src.(*flowcontrolv1.PriorityLevelConfiguration).Spec.DeepCopyInto(&d.Spec)
		return !equality.Semantic.DeepEqual(was, d.Spec)
	}
	return false
}

// dangling says of every flow schema whether its priority level is there.
func (s *Server) dangling() (out []ops.Op) {
	s.state.Table(flowSchemas).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		f := o.(*flowcontrolv1.FlowSchema)
		_, there := s.state.Get(priorityLevels, "", f.Spec.PriorityLevelConfiguration.Name)
		if next := setDangling(f, there, s.now()); next != nil {
			out = append(out, &ops.Put{Resource: flowSchemas, Object: next, Expect: revisionOf(o)})
		}
		return true
	})
	return out
}

// setDangling is the schema with the condition as it should be; nil if it is so.
func setDangling(f *flowcontrolv1.FlowSchema, levelThere bool, now time.Time) *flowcontrolv1.FlowSchema {
	c := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found"}
	c.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q ", f.Spec.PriorityLevelConfiguration.Name)
	if levelThere {
		c.Message += "and it exists"
	} else {
		c.Status, c.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		c.Message += "but there is no such object"
	}
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	next := f.DeepCopy()
	for i := range next.Status.Conditions {
		old := &next.Status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
			return nil
		}
		*old = c
		return next
	}
	next.Status.Conditions = append(next.Status.Conditions, c)
	return next
}
