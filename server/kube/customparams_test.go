package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// paintedBy makes a mutating policy that paints config maps as the parameter of version v2 says, and one that validates what was painted
// against the same parameter in version v1.
func (h *harness) paintedBy(paint string, failure registrationv1.FailurePolicyType, ref registrationv1.ParamRef) {
	h.Helper()
	ctx, api := context.Background(), h.client.AdmissionregistrationV1()
	ref.ParameterNotFoundAction = ptr.To(registrationv1.DenyAction)
	kind := func(version string) *registrationv1.ParamKind {
		return &registrationv1.ParamKind{APIVersion: "shop.example/" + version, Kind: "Widget"}
	}
	mutating := &registrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "paint"}, Spec: registrationv1.MutatingAdmissionPolicySpec{
		MatchConstraints: policyFor("paint", "", "configmaps"), ParamKind: kind("v2"), FailurePolicy: &failure, ReinvocationPolicy: registrationv1.NeverReinvocationPolicy,
		Mutations: []registrationv1.Mutation{{PatchType: registrationv1.PatchTypeJSONPatch, JSONPatch: &registrationv1.JSONPatch{
			Expression: `[JSONPatch{op: "add", path: "/data/paint", value: params.apiVersion + ' ' + ` + paint + ` + (has(params.spec.color) && has(params.spec.paint) ? ' both' : '')}]`}}}}}
	validating := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "paint"}, Spec: registrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: policyFor("paint", "", "configmaps"), ParamKind: kind("v1"), FailurePolicy: &failure,
		Validations: []registrationv1.Validation{{Expression: `object.metadata.name != params.spec.color`, MessageExpression: `params.apiVersion + ' has taken ' + params.spec.color`}}}}
	for _, err := range []error{
		created(api.MutatingAdmissionPolicies().Create(ctx, mutating, metav1.CreateOptions{})),
		created(api.ValidatingAdmissionPolicies().Create(ctx, validating, metav1.CreateOptions{})),
		created(api.MutatingAdmissionPolicyBindings().Create(ctx, &registrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "paint"},
			Spec: registrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "paint", ParamRef: &ref}}, metav1.CreateOptions{})),
		created(api.ValidatingAdmissionPolicyBindings().Create(ctx, &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "paint"},
			Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "paint", ParamRef: &ref, ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny}}}, metav1.CreateOptions{})),
	} {
		if err != nil {
			h.Fatal(err)
		}
	}
}

func created(_ runtime.Object, err error) error { return err }

// storedIn makes a version the one that is stored.
func storedIn(version string) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(d *apiextensionsv1.CustomResourceDefinition) {
		for i := range d.Spec.Versions {
			d.Spec.Versions[i].Storage = d.Spec.Versions[i].Name == version
		}
	}
}

// TestPolicyParametersAreConverted: a policy sees its parameters in the version that it names, whatever version they were written and are
// stored in, and whatever the strategy is.
func TestPolicyParametersAreConverted(t *testing.T) {
	byName := registrationv1.ParamRef{Name: "limit"}
	bySelection := registrationv1.ParamRef{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"for": "maps"}}}
	for _, c := range []struct {
		stored  string
		webhook bool
		ref     registrationv1.ParamRef
		paint   string // what policies read in v2
	}{
		{"v1", true, byName, "params.spec.paint"},
		{"v2", true, byName, "params.spec.paint"},
		{"v2", true, bySelection, "params.spec.paint"},
		{"v1", false, byName, "params.spec.color"},
		{"v2", false, bySelection, "params.spec.color"},
	} {
		t.Run(fmt.Sprintf("stored in %s, by webhook %v, selected %v", c.stored, c.webhook, c.ref.Selector != nil), func(t *testing.T) {
			t.Parallel()
			h, ctx := start(t), context.Background()
			change := []func(*apiextensionsv1.CustomResourceDefinition){twoVersions(nil), storedIn(c.stored)}
			if c.webhook {
				change = []func(*apiextensionsv1.CustomResourceDefinition){twoVersions(convertingHook(t, nil)), painted, storedIn(c.stored)}
			}
			h.define(definition(t, widgets, change...))
			limit := widget("limit", map[string]any{"color": "blue"})
			limit.SetLabels(map[string]string{"for": "maps"})
			if _, err := h.widgets().Create(ctx, limit, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			h.paintedBy(c.paint, registrationv1.Fail, c.ref)
			made, err := h.createConfigMap("c")
			if err != nil || made.Data["paint"] != "shop.example/v2 blue" {
				t.Errorf("painted %v, %v", made, err)
			}
			if _, err := h.createConfigMap("blue"); err == nil || !strings.Contains(err.Error(), "shop.example/v1 has taken blue") {
				t.Errorf("refused with %v", err)
			}
		})
	}
}

// TestPolicyParametersThatCannotBeConverted: the policy fails as it says it does, and says why.
func TestPolicyParametersThatCannotBeConverted(t *testing.T) {
	for _, failure := range []registrationv1.FailurePolicyType{registrationv1.Fail, registrationv1.Ignore} {
		t.Run(string(failure), func(t *testing.T) {
			t.Parallel()
			h, ctx := start(t), context.Background()
			var broken atomic.Bool
			hook := convertingHook(t, func(w http.ResponseWriter) bool {
				if broken.Load() {
					http.Error(w, "out of paint", http.StatusInternalServerError)
				}
				return broken.Load()
			})
			h.define(definition(t, widgets, twoVersions(hook), painted))
			if _, err := h.widgets().Create(ctx, widget("limit", map[string]any{"color": "blue"}), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			h.paintedBy("params.spec.paint", failure, registrationv1.ParamRef{Name: "limit"})
			made, err := h.createConfigMap("c")
			switch {
			case failure == registrationv1.Ignore && (err != nil || made.Data["paint"] != ""):
				t.Errorf("with its failure ignored: %v, %v", made, err)
			case failure == registrationv1.Fail && (err == nil || !strings.Contains(err.Error(), "conversion webhook") || !strings.Contains(err.Error(), "'paint'")):
				t.Errorf("refused with %v", err)
			}
			broken.Store(false)
			if made, err = h.createConfigMap("d"); err != nil || made.Data["paint"] != "shop.example/v2 blue" {
				t.Errorf("once it converts again: %v, %v", made, err)
			}
		})
	}
}
