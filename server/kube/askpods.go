package kube

import (
	"context"
	"fmt"
	"slices"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// PodsAsked says whether somebody may want to be asked about a controller's pod: a quota of its namespace, a webhook or a policy. Such a pod
// goes the way of a client's. It looks at nothing but the pod and the facts, and rather says yes.
func PodsAsked(p *corev1.Pod, facts Facts) bool {
	if len(facts.Objects(quotasResource, p.Namespace)) > 0 {
		return true
	}
	q := question{pod: p, facts: facts}
	for _, c := range factsOf[*registrationv1.MutatingWebhookConfiguration](facts, registration("mutatingwebhookconfigurations"), "") {
		for i := range c.Webhooks {
			if w := &c.Webhooks[i]; q.concerns(w.Rules, w.NamespaceSelector, w.ObjectSelector) {
				return true
			}
		}
	}
	for _, c := range factsOf[*registrationv1.ValidatingWebhookConfiguration](facts, registration("validatingwebhookconfigurations"), "") {
		for i := range c.Webhooks {
			if w := &c.Webhooks[i]; q.concerns(w.Rules, w.NamespaceSelector, w.ObjectSelector) {
				return true
			}
		}
	}
	return q.policies()
}

func registration(resource string) schema.GroupResource {
	return schema.GroupResource{Group: registrationv1.GroupName, Resource: resource}
}

// question is whether rules match a new pod.
type question struct {
	pod   *corev1.Pod
	facts Facts
}

// policies says whether a policy that is bound matches.
func (q question) policies() bool {
	bound := map[string]bool{}
	for _, b := range factsOf[*registrationv1.MutatingAdmissionPolicyBinding](q.facts, registration("mutatingadmissionpolicybindings"), "") {
		bound["mutating "+b.Spec.PolicyName] = true
	}
	for _, b := range factsOf[*registrationv1.ValidatingAdmissionPolicyBinding](q.facts, registration("validatingadmissionpolicybindings"), "") {
		bound["validating "+b.Spec.PolicyName] = true
	}
	if len(bound) == 0 {
		return false
	}
	for _, p := range factsOf[*registrationv1.MutatingAdmissionPolicy](q.facts, registration("mutatingadmissionpolicies"), "") {
		if bound["mutating "+p.Name] && q.matches(p.Spec.MatchConstraints) {
			return true
		}
	}
	for _, p := range factsOf[*registrationv1.ValidatingAdmissionPolicy](q.facts, registration("validatingadmissionpolicies"), "") {
		if bound["validating "+p.Name] && q.matches(p.Spec.MatchConstraints) {
			return true
		}
	}
	return false
}

func (q question) matches(m *registrationv1.MatchResources) bool {
	if m == nil {
		return true
	}
	rules := make([]registrationv1.RuleWithOperations, len(m.ResourceRules))
	for i := range rules {
		rules[i] = m.ResourceRules[i].RuleWithOperations
	}
	return q.concerns(rules, m.NamespaceSelector, m.ObjectSelector)
}

func (q question) concerns(rules []registrationv1.RuleWithOperations, namespaces, objects *metav1.LabelSelector) bool {
	return slices.ContainsFunc(rules, newPods) && chosen(objects, q.pod.Labels) && chosen(namespaces, q.namespaceLabels())
}

func (q question) namespaceLabels() map[string]string {
	if n, ok := q.facts.Object(namespacesResource, "", q.pod.Namespace).(*corev1.Namespace); ok {
		return n.Labels
	}
	return nil
}

// newPods says whether a rule may mean the creation of pods.
func newPods(r registrationv1.RuleWithOperations) bool {
	return (slices.Contains(r.Operations, registrationv1.Create) || slices.Contains(r.Operations, registrationv1.OperationAll)) &&
		(slices.Contains(r.APIGroups, "") || slices.Contains(r.APIGroups, "*")) &&
		(slices.Contains(r.Resources, "pods") || slices.Contains(r.Resources, "*") || slices.Contains(r.Resources, "*/*") || slices.Contains(r.Resources, "pods/*"))
}

func chosen(s *metav1.LabelSelector, m map[string]string) bool {
	if s == nil {
		return true
	}
	by, err := metav1.LabelSelectorAsSelector(s)
	return err != nil || by.Matches(labels.Set(m))
}

// CreatePod creates a pod for a controller of the kind that owns it, by way of admission, as a client with the controller's account would.
func (s *Server) CreatePod(ctx context.Context, owner string, p *corev1.Pod) error {
	pods := podsResource.WithVersion("v1")
	c := s.creations[pods]
	if c == nil {
		return fmt.Errorf("pods cannot be created here")
	}
	name := "system:serviceaccount:kube-system:" + controllerAccount(owner)
	ctx = request.WithUser(ctx, &user.DefaultInfo{Name: name, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", user.AllAuthenticated}})
	ctx = request.WithNamespace(request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: "create", APIPrefix: "api", APIVersion: "v1", Resource: "pods", Namespace: p.Namespace}), p.Namespace)
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	q := &creating{creation: c, namespace: p.Namespace, options: plainOptions, obj: p}
	_, err := q.create(ctx)
	return err
}

// controllerAccount is the account of the controller of a kind, as it is called in Kubernetes.
func controllerAccount(kind string) string {
	switch kind {
	case "Job":
		return "job-controller"
	case "ReplicaSet":
		return "replicaset-controller"
	case "DaemonSet":
		return "daemon-set-controller"
	case "StatefulSet":
		return "statefulset-controller"
	}
	return "replication-controller"
}
