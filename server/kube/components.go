package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/peapod-sh/peapod/api"
)

// components tells the health of what Kubernetes has as programs of their own and this server does itself, for those who
// still ask (kubectl get componentstatuses). All of them work if the cluster has a leader.
type components struct{ ready func() error }

var (
	_ rest.Lister               = components{}
	_ rest.Getter               = components{}
	_ rest.Scoper               = components{}
	_ rest.SingularNameProvider = components{}
	_ rest.ShortNamesProvider   = components{}
)

var (
	componentNames = []string{"controller-manager", "scheduler", "store"}
	componentTable = &api.Kind{Name: "ComponentStatus", Row: componentRow, Columns: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "The component's name."},
		{Name: "Status", Type: "string", Description: "Whether it works."},
		{Name: "Message", Type: "string", Description: "What it says of itself."},
		{Name: "Error", Type: "string", Description: "Why it does not work."},
	}}
)

func (components) New() runtime.Object     { return &corev1.ComponentStatus{} }
func (components) NewList() runtime.Object { return &corev1.ComponentStatusList{} }
func (components) Destroy()                {}
func (components) NamespaceScoped() bool   { return false }
func (components) GetSingularName() string { return "componentstatus" }
func (components) ShortNames() []string    { return []string{"cs"} }

func (c components) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	warning.AddWarning(ctx, "", "v1 ComponentStatus is deprecated in v1.19+")
	list := &corev1.ComponentStatusList{}
	for _, name := range componentNames {
		s := c.status(name)
		if o != nil && o.LabelSelector != nil && !o.LabelSelector.Empty() || o != nil && o.FieldSelector != nil && !o.FieldSelector.Matches(nameField(name)) {
			continue // none has labels
		}
		list.Items = append(list.Items, *s)
	}
	return list, nil
}

// nameField lets field selectors choose by name, the only field that they may name.
type nameField string

func (n nameField) Has(field string) bool { return field == "metadata.name" }
func (n nameField) Get(field string) string {
	if n.Has(field) {
		return string(n)
	}
	return ""
}

func (c components) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	warning.AddWarning(ctx, "", "v1 ComponentStatus is deprecated in v1.19+")
	for _, n := range componentNames {
		if n == name {
			return c.status(n), nil
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("componentstatuses"), name)
}

func (c components) status(name string) *corev1.ComponentStatus {
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if c.ready != nil {
		if err := c.ready(); err != nil {
			condition = corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionFalse, Error: err.Error()}
		}
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{condition}}
}

// ConvertToTable implements rest.TableConvertor.
func (c components) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return tables{componentTable, time.Now}.ConvertToTable(ctx, o, options)
}

func componentRow(o runtime.Object, _ time.Time) []any {
	s := o.(*corev1.ComponentStatus)
	for _, c := range s.Conditions {
		if c.Type == corev1.ComponentHealthy && c.Status != corev1.ConditionTrue {
			return []any{s.Name, "Unhealthy", c.Message, c.Error}
		}
	}
	return []any{s.Name, "Healthy", "ok", ""}
}
