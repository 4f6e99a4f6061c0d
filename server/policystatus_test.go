package server

import (
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func policyOn(group, version, resource string, expressions ...string) *admissionv1.ValidatingAdmissionPolicy {
	p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: resource}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}}}}}}}}
	for _, e := range expressions {
		p.Spec.Validations = append(p.Spec.Validations, admissionv1.Validation{Expression: e})
	}
	return p
}

// TestPoliciesAreChecked: a policy's status says which expressions do not fit the kinds it matches, built in or custom, for each
// generation anew.
func TestPoliciesAreChecked(t *testing.T) {
	s := newTestServer(t, "a")
	s.start()
	policies := s.client().AdmissionregistrationV1().ValidatingAdmissionPolicies()
	definitions := apiextensions.NewForConfigOrDie(s.restConfig()).ApiextensionsV1().CustomResourceDefinitions()
	d := boxes()
	d.Spec.Versions[0].Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object",
		Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}}}}}}
	if _, err := definitions.Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "boxes are served", func() error {
		_, err := s.client().Discovery().ServerResourcesForGroupVersion("shop.example/v1")
		return err
	})
	// checked wants one text for each expression: a part of its warning, or "".
	checked := func(name string, generation int64, want ...string) {
		t.Helper()
		eventually(t, name+" is checked", func() error {
			p, err := policies.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil || p.Status.ObservedGeneration != generation || p.Status.TypeChecking == nil {
				return fmt.Errorf("%+v, %w", p.Status, err)
			}
			got := map[string]string{}
			for _, w := range p.Status.TypeChecking.ExpressionWarnings {
				got[w.FieldRef] = w.Warning
			}
			for i, part := range want {
				warning, there := got[fmt.Sprintf("spec.validations[%d].expression", i)]
				if there != (part != "") || !strings.Contains(warning, part) {
					t.Fatalf("%s, expression %d: %q, want %q", name, i, warning, part)
				}
			}
			return nil
		})
	}
	deployments := policyOn("apps", "v1", "deployments", "object.spec.replicas <= 5", "object.spec.replicas.matches('a')", "object.spec.unknown > 1")
	custom := policyOn("shop.example", "v1", "boxes", "object.spec.size > 1", "object.spec.colour == 'red'")
	for _, p := range []*admissionv1.ValidatingAdmissionPolicy{deployments, custom, policyOn("nobody.example", "v1", "things", "object.spec.any == 1")} {
		if _, err := policies.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	checked("deployments", 1, "", "apps/v1, Kind=Deployment: ERROR", "undefined field 'unknown'")
	checked("boxes", 1, "", "undefined field 'colour'")
	checked("things", 1, "")
	eventually(t, "the policy is changed", func() error {
		p, err := policies.Get(t.Context(), "boxes", metav1.GetOptions{})
		if err != nil {
			return err
		}
		p.Spec.Validations = p.Spec.Validations[:1]
		p.Spec.Validations[0].Expression = "object.spec.size == 'a'"
		_, err = policies.Update(t.Context(), p, metav1.UpdateOptions{})
		return err
	})
	checked("boxes", 2, "found no matching overload")
}
