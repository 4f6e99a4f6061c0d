package kube_test

import (
	"crypto/x509/pkix"
	"net/http"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/server/kube"
)

// narrow is a priority level of one place and no queue.
func narrow() *flowcontrolv1.PriorityLevelConfiguration {
	return &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "narrow"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: ptr.To[int32](1), LendablePercent: ptr.To[int32](0), BorrowingLimitPercent: ptr.To[int32](0),
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}}}}
}

// narrowFor has all requests of a user for resources be of that level.
func narrowFor(name string) *flowcontrolv1.FlowSchema {
	return &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "narrow"}, MatchingPrecedence: 2,
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}, ClusterScope: true}}}}}}
}

// narrowed starts a server that classes the requests of bob, who may do everything, by a schema of its own.
func narrowed(t *testing.T) (h *harness, held *heldStore, bob *rest.Config, of *flowcontrolv1.FlowSchema) {
	held = &heldStore{entered: make(chan struct{}), release: make(chan struct{})}
	h = start(t, func(c *kube.Config) {
		held.Store, c.Store = c.Store, held
		c.Limits.Flows = 1
		c.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	})
	bob = h.user(pkix.Name{CommonName: "bob"})
	flows := h.client.FlowcontrolV1()
	of, err := flows.FlowSchemas().Create(t.Context(), narrowFor("bob"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dangles := func(want flowcontrolv1.ConditionStatus) func() bool {
		return func() bool {
			f, err := flows.FlowSchemas().Get(t.Context(), "bob", metav1.GetOptions{})
			return err == nil && len(f.Status.Conditions) == 1 && f.Status.Conditions[0].Status == want
		}
	}
	h.eventually("the schema without a level says so", dangles(flowcontrolv1.ConditionTrue))
	level, err := flows.PriorityLevelConfigurations().Create(t.Context(), narrow(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.eventually("the schema has its level", dangles(flowcontrolv1.ConditionFalse))
	a := h.ask(bob, "GET", configMaps, "", nil)
	if a.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) != string(of.UID) ||
		a.header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID) != string(level.UID) {
		t.Fatalf("bob's request was classed as %v", a.header)
	}
	return h, held, bob, of
}

// TestFlowSchemasAreActedOn: a level that is full refuses, with a time to come back, and only what is of it; who is exempt is not in it.
// Invariant 206.
func TestFlowSchemasAreActedOn(t *testing.T) {
	h, held, bob, of := narrowed(t)
	held.holds.Store(true)
	answer := make(chan asked, 1)
	go func() { answer <- h.ask(bob, "GET", configMaps, "", nil) }()
	<-held.entered
	held.holds.Store(false)
	a := h.ask(bob, "GET", configMaps, "", nil)
	if a.code != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || a.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) != string(of.UID) {
		t.Errorf("a second one of bob: %d %v", a.code, a.header)
	}
	for _, who := range []*rest.Config{h.config, h.user(pkix.Name{CommonName: "carol"})} {
		a := h.ask(who, "GET", configMaps, "", nil)
		if _, classed := a.header[http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)]; a.code != http.StatusOK || !classed {
			t.Errorf("one of another level: %d %v", a.code, a.header)
		}
	}
	close(held.release)
	if a := <-answer; a.code != http.StatusOK {
		t.Errorf("the first one: %d %s", a.code, a.body)
	}
}

// TestWatchesLeaveTheirLevel: a watch has its place until it has begun.
// Invariant 206.
func TestWatchesLeaveTheirLevel(t *testing.T) {
	h, _, bob, _ := narrowed(t)
	for _, gvr := range []schema.GroupVersionResource{{Version: "v1", Resource: "configmaps"},
		{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}} {
		w, err := dynamic.NewForConfigOrDie(bob).Resource(gvr).Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		h.eventually("there is room beside a watch", func() bool { return h.ask(bob, "GET", configMaps, "", nil).code == http.StatusOK })
		w.Stop()
	}
}

// TestWebhookCallsBack: a webhook may ask the server that waits for it, whatever else is asked of that one.
// Invariant 205.
func TestWebhookCallsBack(t *testing.T) {
	h := start(t, func(c *kube.Config) { c.Limits.Seats = 1 })
	asked := make(chan int, 1)
	hook := newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		asked <- h.ask(h.config, "GET", configMaps, "", nil).code
		return allowed("")
	})
	h.mutatedBy("asks", hook.client(), func(w *registrationv1.MutatingWebhook) {
		w.Rules = rulesFor("configmaps", registrationv1.Create)
	})
	if _, err := h.createConfigMap("a"); err != nil {
		t.Fatal(err)
	}
	if code := <-asked; code != http.StatusOK {
		t.Errorf("the webhook was answered %d", code)
	}
}

// TestNoUserFillsTheLevelOfPeople: with the cluster's own levels, somebody may have as many requests as he is let in with, and those of another
// ordinary user do not wait for any of them.
// Invariant 206.
func TestNoUserFillsTheLevelOfPeople(t *testing.T) {
	const flood = 700
	held := &heldStore{entered: make(chan struct{}), release: make(chan struct{})}
	h := start(t, func(c *kube.Config) {
		held.Store, c.Store = c.Store, held
		c.Limits.Flows = 2000 // as on two processors
		c.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	})
	people := h.suggestedFlows()
	bob, carol := h.user(pkix.Name{CommonName: "bob"}), h.user(pkix.Name{CommonName: "carol"})
	h.eventually("people have their level", func() bool {
		return h.ask(carol, "GET", configMaps, "", nil).header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID) == people
	})
	held.holds.Store(true)
	answers := make(chan asked, flood)
	for range flood {
		go func() { answers <- h.ask(bob, "GET", configMaps, "", nil) }()
	}
	for range flood {
		select {
		case <-held.entered:
		case a := <-answers:
			t.Fatalf("one of bob's was not let in but answered %d %s", a.code, a.body)
		}
	}
	held.holds.Store(false)
	if a := h.ask(carol, "GET", configMaps, "", nil); a.code != http.StatusOK {
		t.Errorf("carol was answered %d %s", a.code, a.body)
	}
	close(held.release)
	for range flood {
		if a := <-answers; a.code != http.StatusOK {
			t.Fatalf("bob was answered %d %s", a.code, a.body)
		}
	}
}

// suggestedFlows makes the schemas and levels that a cluster has from its beginning, and gives the UID of the level of people.
func (h *harness) suggestedFlows() (people string) {
	flows, ctx := h.client.FlowcontrolV1(), h.Context()
	_, levels := api.PriorityLevels()
	_, schemas := api.FlowSchemas()
	for _, l := range levels {
		made, err := flows.PriorityLevelConfigurations().Create(ctx, l, metav1.CreateOptions{})
		if err != nil {
			h.Fatal(err)
		}
		if l.Name == "global-default" {
			people = string(made.UID)
		}
	}
	for _, s := range schemas {
		if _, err := flows.FlowSchemas().Create(ctx, s, metav1.CreateOptions{}); err != nil {
			h.Fatal(err)
		}
	}
	return people
}
