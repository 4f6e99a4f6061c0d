package kube_test

import (
	"context"
	"strings"
	"testing"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// boundToWidgets makes a policy that lets config maps have as many entries as a widget is large.
func (h *harness) boundToWidgets(ref registrationv1.ParamRef) {
	h.Helper()
	ctx, api := context.Background(), h.client.AdmissionregistrationV1()
	ref.ParameterNotFoundAction = ptr.To(registrationv1.DenyAction)
	p := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: registrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: policyFor("few", "", "configmaps"), ParamKind: &registrationv1.ParamKind{APIVersion: "shop.example/v1", Kind: "Widget"},
		Validations: []registrationv1.Validation{{Expression: "size(object.data) <= params.spec.size", MessageExpression: "'at most ' + string(params.spec.size)"}}}}
	if _, err := api.ValidatingAdmissionPolicies().Create(ctx, p, metav1.CreateOptions{}); err != nil {
		h.Fatal(err)
	}
	b := &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "few",
		ParamRef: &ref, ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny}}}
	if _, err := api.ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
		h.Fatal(err)
	}
}

// TestPolicyParametersAreCustomResources: a policy may come before the kind of its parameters, and sees them defaulted as clients do.
func TestPolicyParametersAreCustomResources(t *testing.T) {
	for name, ref := range map[string]registrationv1.ParamRef{
		"by name":      {Name: "limit"},
		"by selection": {Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"for": "maps"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, ctx := start(t), context.Background()
			h.boundToWidgets(ref)
			if _, err := h.createConfigMap("c"); err == nil || !strings.Contains(err.Error(), "failed to find resource referenced by paramKind: 'shop.example/v1, Kind=Widget'") {
				t.Fatalf("without the kind: %v", err)
			}
			h.define(definition(t, widgets))
			h.eventually("the parameter is missed, once the kind is established", func() bool {
				_, err := h.createConfigMap("c")
				return err != nil && strings.Contains(err.Error(), "no params found")
			})
			limit := widget("limit", map[string]any{"size": int64(0)})
			limit.SetLabels(map[string]string{"for": "maps"})
			if _, err := h.widgets().Create(ctx, limit, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.createConfigMap("c"); err == nil || !strings.Contains(err.Error(), "at most 0") {
				t.Fatalf("refused with %v", err)
			}
			// Without a size it is the default of the schema.
			if _, err := h.widgets().Patch(ctx, "limit", types.MergePatchType, []byte(`{"spec":{"size":null}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.createConfigMap("c"); err != nil {
				t.Errorf("with three allowed: %v", err)
			}
		})
	}
}

// TestQuotaCountsCustomResources: whatever a quota is told to count by resource and group.
func TestQuotaCountsCustomResources(t *testing.T) {
	h, ctx := start(t), context.Background()
	h.define(definition(t, widgets))
	h.quota(list("count/widgets.shop.example", "1"), list("count/widgets.shop.example", "0"))
	if _, err := h.widgets().Create(ctx, widget("a", map[string]any{}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if used := h.usedOf("count/widgets.shop.example"); used != "1" {
		t.Errorf("the quota says %s are used", used)
	}
	_, err := h.widgets().Create(ctx, widget("b", map[string]any{}), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: q, requested: count/widgets.shop.example=1, used: count/widgets.shop.example=1") {
		t.Errorf("refused with %v", err)
	}
	if _, err := h.widgets().Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"size":4}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("a change takes no more: %v", err)
	}
}

// TestSchemasRatchet: an object that was stored before its schema became stricter can be changed in what the new schema likes, as long as
// what it dislikes stays as it was. Rules about the old object hold for changes only.
func TestSchemasRatchet(t *testing.T) {
	h, ctx := start(t), context.Background()
	c := h.define(definition(t, widgets))
	if _, err := h.widgets().Create(ctx, widget("old", map[string]any{"size": int64(9), "color": "blue", "replicas": int64(1)}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	api := c.ApiextensionsV1().CustomResourceDefinitions()
	d, err := api.Get(ctx, "widgets.shop.example", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	size, color, replicas := spec.Properties["size"], spec.Properties["color"], spec.Properties["replicas"]
	size.Maximum = ptr.To(5.0)
	color.XValidations = apiextensionsv1.ValidationRules{{Rule: "self != 'blue'", Message: "blue is out"}}
	replicas.XValidations = apiextensionsv1.ValidationRules{
		{Rule: "self >= oldSelf", Message: "never fewer"},
		{Rule: "oldSelf.hasValue() || self == 1", OptionalOldSelf: ptr.To(true), Message: "begin with one"}}
	spec.Properties["size"], spec.Properties["color"], spec.Properties["replicas"] = size, color, replicas
	if _, err = api.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the new schema counts", func() bool {
		_, err := h.widgets().Create(ctx, widget("probe", map[string]any{"size": int64(6)}), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "less than or equal to 5")
	})
	for _, step := range []struct{ patch, says string }{
		{`{"spec":{"replicas":2}}`, ""}, // size and color stay as they were
		{`{"spec":{"size":8}}`, "less than or equal to 5"},
		{`{"spec":{"replicas":1}}`, "never fewer"},
		{`{"metadata":{"labels":{"a":"b"}}}`, ""},
		{`{"spec":{"color":"green"}}`, ""},
		{`{"spec":{"color":"blue"}}`, "blue is out"},
		{`{"spec":{"size":5}}`, ""},
	} {
		_, err := h.widgets().Patch(ctx, "old", types.MergePatchType, []byte(step.patch), metav1.PatchOptions{})
		if step.says == "" && err != nil || step.says != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), step.says)) {
			t.Errorf("%s: %v, and it should be %q", step.patch, err, step.says)
		}
	}
	for replicas, says := range map[int64]string{1: "", 2: "begin with one"} {
		_, err := h.widgets().Create(ctx, widget("new", map[string]any{"replicas": replicas}), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("a new one with %d replicas: %v", replicas, err)
		}
	}
}
