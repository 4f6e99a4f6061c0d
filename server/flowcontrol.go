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
// always, the suggested ones unless somebody has changed them. Every server acts on them (flows.go in kube), and says of a flow
// schema in its status whether its level is there.
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
			if f, ok := flowObject(want).(*flowcontrolv1.FlowSchema); ok {
				f.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{s.levelFound(f)}
			}
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

// levelFound is what servers say of a flow schema with a level. With it from the beginning, none has to write so about a new cluster's.
func (s *Server) levelFound(f *flowcontrolv1.FlowSchema) flowcontrolv1.FlowSchemaCondition {
	return flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found",
		LastTransitionTime: metav1.NewTime(s.now().Truncate(time.Second)),
		Message:            fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", f.Spec.PriorityLevelConfiguration.Name)}
}
