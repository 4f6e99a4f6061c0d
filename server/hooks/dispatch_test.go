package hooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

var (
	mapsV1 = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	mapsV2 = schema.GroupVersionResource{Version: "v2", Resource: "configmaps"}
)

// twoVersions serves ConfigMaps in two versions, of one form, with a default.
func twoVersions() admission.ObjectInterfaces {
	s := runtime.NewScheme()
	s.AddKnownTypeWithName(mapsV1.GroupVersion().WithKind("ConfigMap"), &corev1.ConfigMap{})
	s.AddKnownTypeWithName(mapsV2.GroupVersion().WithKind("ConfigMap"), &corev1.ConfigMap{})
	s.AddKnownTypeWithName(mapsV1.GroupVersion().WithKind("Secret"), &corev1.Secret{})
	s.AddTypeDefaultingFunc(&corev1.ConfigMap{}, func(o any) {
		if c := o.(*corev1.ConfigMap); c.Data["n"] == "1" {
			c.Data["defaulted"] = "yes"
		}
	})
	both := runtime.NewEquivalentResourceRegistry()
	for _, r := range []schema.GroupVersionResource{mapsV1, mapsV2} {
		both.RegisterKindFor(r, "", r.GroupVersion().WithKind("ConfigMap"))
	}
	return &admission.RuntimeObjectInterfaces{ObjectCreater: s, ObjectTyper: s, ObjectDefaulter: s, ObjectConvertor: s, EquivalentResourceMapper: both}
}

// hooked is the state of a cluster that has one configuration.
type hooked struct {
	State
	list []runtime.Object
}

func (h hooked) Changes(schema.GroupResource) func() uint64 { return func() uint64 { return 1 } }

func (h hooked) Objects(schema.GroupResource, string) []runtime.Object { return h.list }

func (h hooked) Object(_ schema.GroupResource, _, name string) runtime.Object {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": "a"}}}
}

// passage is a request, and the webhooks that it passes.
type passage struct {
	mutates   bool
	webhooks  []registrationv1.MutatingWebhook
	replies   []string
	operation admission.Operation
	custom    bool // an object without a struct
	dry       bool
	meddles   bool // something else changes the object before the second round
	level     auditinternal.Level
}

func drawPassage(t *rapid.T, url string, bundle []byte) *passage {
	p := &passage{mutates: rapid.Bool().Draw(t, "mutates"), custom: rapid.IntRange(0, 3).Draw(t, "custom") == 0, dry: rapid.IntRange(0, 5).Draw(t, "dry") == 0,
		meddles: rapid.Bool().Draw(t, "meddles"), operation: rapid.SampledFrom([]admission.Operation{admission.Create, admission.Create, admission.Update, admission.Delete}).Draw(t, "operation"),
		level: rapid.SampledFrom([]auditinternal.Level{auditinternal.LevelMetadata, auditinternal.LevelRequest}).Draw(t, "level")}
	for i := range rapid.IntRange(1, 4).Draw(t, "webhooks") {
		p.webhooks = append(p.webhooks, drawWebhook(t, fmt.Sprintf("%s/%d", url, i), bundle))
		p.webhooks[i].Name = fmt.Sprintf("w%d.example.com", i)
		p.replies = append(p.replies, rapid.SampledFrom(replyNames()).Draw(t, "reply"))
	}
	return p
}

func drawWebhook(t *rapid.T, url string, bundle []byte) registrationv1.MutatingWebhook {
	seldom := func(what string) bool { return rapid.IntRange(0, 5).Draw(t, what) == 0 }
	w := registrationv1.MutatingWebhook{ClientConfig: registrationv1.WebhookClientConfig{URL: &url, CABundle: bundle},
		Rules: []registrationv1.RuleWithOperations{{Operations: []registrationv1.OperationType{registrationv1.OperationAll},
			Rule: registrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{rapid.SampledFrom([]string{"v1", "v1", "v2", "*"}).Draw(t, "version")}, Resources: []string{"configmaps"}}}},
		MatchPolicy:             rapid.SampledFrom([]*registrationv1.MatchPolicyType{ptr.To(registrationv1.Equivalent), ptr.To(registrationv1.Exact)}).Draw(t, "match"),
		FailurePolicy:           rapid.SampledFrom([]*registrationv1.FailurePolicyType{nil, ptr.To(registrationv1.Fail), ptr.To(registrationv1.Ignore), ptr.To(registrationv1.Ignore)}).Draw(t, "failure"),
		ReinvocationPolicy:      rapid.SampledFrom([]*registrationv1.ReinvocationPolicyType{nil, ptr.To(registrationv1.NeverReinvocationPolicy), ptr.To(registrationv1.IfNeededReinvocationPolicy)}).Draw(t, "again"),
		AdmissionReviewVersions: rapid.SampledFrom([][]string{{"v1"}, {"v1"}, {"v1beta1", "v1"}, {"v2", "v1beta1"}, {"v2"}}).Draw(t, "reviews"),
		SideEffects: rapid.SampledFrom([]*registrationv1.SideEffectClass{ptr.To(registrationv1.SideEffectClassNone), ptr.To(registrationv1.SideEffectClassNoneOnDryRun),
			ptr.To(registrationv1.SideEffectClassSome), nil}).Draw(t, "effects"),
		NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{}, TimeoutSeconds: ptr.To(int32(30))}
	if seldom("selects objects") {
		w.ObjectSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "skip", Operator: metav1.LabelSelectorOpDoesNotExist}}}
	}
	if seldom("selects namespaces") {
		w.NamespaceSelector.MatchLabels = map[string]string{"team": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "team")}
	}
	if seldom("has conditions") {
		w.MatchConditions = []registrationv1.MatchCondition{{Name: "c", Expression: rapid.SampledFrom([]string{`request.name == "c"`, `request.name != "c"`,
			`!has(object.metadata.labels)`, `object.none == "x"`}).Draw(t, "condition")}}
	}
	return w
}

// configuration is what a cluster has of the webhooks.
func (p *passage) configuration() runtime.Object {
	if p.mutates {
		return &registrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "all", UID: "u", ResourceVersion: "1"}, Webhooks: p.webhooks}
	}
	c := &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "all", UID: "u", ResourceVersion: "1"}}
	for _, w := range p.webhooks {
		c.Webhooks = append(c.Webhooks, registrationv1.ValidatingWebhook{Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
			NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects, TimeoutSeconds: w.TimeoutSeconds,
			AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions})
	}
	return c
}

// ours and theirs are the same webhooks, asked by this package and by the library.
func (p *passage) ours() (*webhooks, error) {
	c := Config{State: hooked{list: []runtime.Object{p.configuration()}}}
	if p.mutates {
		return newMutating(c, nil)
	}
	return newValidating(c, nil)
}

func (p *passage) theirs() (*webhooks, error) {
	c := Config{State: hooked{list: []runtime.Object{p.configuration()}}}
	if p.mutates {
		w, err := mutating.NewMutatingWebhook(nil)
		if err != nil {
			return nil, err
		}
		return prepare(w.Webhook, c, newTable(c.State, mutatingResource, nil))
	}
	w, err := validating.NewValidatingAdmissionWebhook(nil)
	if err != nil {
		return nil, err
	}
	return prepare(w.Webhook, c, newTable(c.State, validatingResource, nil))
}

// noted are a request's attributes that can be asked what was noted about it.
type noted struct {
	admission.Attributes
	mu    sync.Mutex
	notes map[string]string
}

func (n *noted) AddAnnotation(key, value string) error {
	return n.AddAnnotationWithLevel(key, value, auditinternal.LevelMetadata)
}

func (n *noted) AddAnnotationWithLevel(key, value string, level auditinternal.Level) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes[key] += fmt.Sprint(level, value)
	return n.Attributes.AddAnnotationWithLevel(key, value, level)
}

func (p *passage) attributes() *noted {
	made := func(value string) runtime.Object {
		c := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n"}, Data: map[string]string{"a": value}}
		if !p.custom {
			return c
		}
		u, _ := runtime.DefaultUnstructuredConverter.ToUnstructured(c) // it has fields and no more
		return &unstructured.Unstructured{Object: u}
	}
	var now, old, options runtime.Object
	switch p.operation {
	case admission.Delete:
		old, options = made("old"), &metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(3))}
	case admission.Update:
		now, old, options = made("<new>"), made("old"), &metav1.UpdateOptions{FieldManager: "m"}
	default:
		now, options = made("<new>"), &metav1.CreateOptions{}
	}
	who := &user.DefaultInfo{Name: "ann", UID: "7", Groups: []string{"g"}, Extra: map[string][]string{"object": nil, "k": {"v"}}}
	at := admission.NewAttributesRecord(now, old, mapsV1.GroupVersion().WithKind("ConfigMap"), "n", "c", mapsV1, "", p.operation, options, p.dry, who)
	return &noted{Attributes: at, notes: map[string]string{}}
}

// fate is all that can be known of a request that has passed webhooks.
type fate struct {
	err      string
	object   runtime.Object
	warnings []string
	notes    map[string]string
	counted  map[string]float64
	asked    []string
}

type warned struct {
	mu   sync.Mutex
	said []string
}

func (w *warned) AddWarning(_, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

// through has a request pass.
func (p *passage) through(w *webhooks, server *answering) fate {
	w.configured()
	at, o, says := p.attributes(), twoVersions(), &warned{}
	ctx := audit.WithAuditContext(warning.WithWarningRecorder(context.Background(), says))
	_ = audit.AuditContextFrom(ctx).Init(audit.RequestAuditConfig{Level: p.level}, nil) // it is new
	before := counters()
	err := patched(ctx, w.library, at, o)
	if again := at.GetReinvocationContext(); err == nil && again.ShouldReinvoke() {
		if c, ok := at.GetObject().(*corev1.ConfigMap); ok && p.meddles {
			c.Data["meddled"] = "yes"
		}
		again.SetIsReinvoke()
		err = patched(ctx, w.library, at, o)
	}
	out := fate{err: text(err), object: at.GetObject(), notes: at.notes, warnings: says.said, asked: server.took(!p.mutates), counted: counters()}
	if p.level == auditinternal.LevelMetadata { // nobody reads the others
		maps.DeleteFunc(out.notes, func(_, v string) bool { return strings.HasPrefix(v, string(auditinternal.LevelRequest)) })
	}
	for k, v := range before {
		if out.counted[k] -= v; out.counted[k] == 0 {
			delete(out.counted, k)
		}
	}
	return out
}

var uids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

// text is all of an error that a client sees, but for the review's UID, which is another each time.
func text(err error) string {
	text := fmt.Sprint(err)
	if s := apierrors.APIStatus(nil); errors.As(err, &s) {
		text = fmt.Sprintf("%T %+v", err, s.Status())
	}
	return uids.ReplaceAllString(text, "UID")
}

// counters are the library's numbers of what came of asking webhooks.
func counters() map[string]float64 {
	out := map[string]float64{}
	families, _ := legacyregistry.DefaultGatherer.Gather() // what there is
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "apiserver_admission_webhook_") {
			continue
		}
		for _, m := range f.GetMetric() {
			out[f.GetName()+fmt.Sprint(m.GetLabel())] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

// compare has a request pass both.
func (p *passage) compare(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, server *answering,
) {
	server.mu.Lock()
	server.replies = map[string]string{}
	for i, r := range p.replies {
		server.replies[fmt.Sprintf("/%d", i)] = r
	}
	server.mu.Unlock()
	ours, err := p.ours()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := p.theirs()
	if err != nil {
		t.Fatal(err)
	}
	want, got := p.through(theirs, server), p.through(ours, server)
	if !p.mutates && got.err != want.err && p.refuses(server, got.err) { // which of several came first is chance
		got.err = want.err
	}
	if !p.mutates && len(p.webhooks) > 1 { // so is the order of warnings
		got.warnings, want.warnings = slices.Sorted(slices.Values(got.warnings)), slices.Sorted(slices.Values(want.warnings))
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("of %v with %q the library makes\n%+v\nand this package\n%+v", p.operation, p.replies, want, got)
	}
}

// refuses says whether any of the webhooks, asked alone, is why there is such an error.
func (p *passage) refuses(server *answering, text string) bool {
	for _, w := range p.webhooks {
		alone := *p
		alone.webhooks = []registrationv1.MutatingWebhook{w}
		if theirs, err := alone.theirs(); err == nil && alone.through(theirs, server).err == text {
			return true
		}
	}
	return false
}

// Invariant 220.
func TestWebhooksAreAskedAsByTheLibrary(t *testing.T) {
	server := newAnswering(t)
	rapid.Check(t, func(t *rapid.T) { drawPassage(t, server.URL, server.bundle()).compare(t, server) })
}

// Invariant 220, with each kind of reply at least once, alone, of both types and with both failure policies.
func TestEveryReplyIsTakenAsByTheLibrary(t *testing.T) {
	server := newAnswering(t)
	each := rapid.Custom(func(t *rapid.T) registrationv1.MutatingWebhook {
		return drawWebhook(t, server.URL+"/0", server.bundle())
	})
	for _, reply := range append(slices.Sorted(maps.Keys(replies)), "asks for patience", "hangs") {
		t.Run(reply, func(t *testing.T) {
			for i := range 4 {
				w := each.Example(0)
				w.Name, w.MatchConditions, w.AdmissionReviewVersions, w.Rules[0].APIVersions = "w.example.com", nil, []string{"v1"}, []string{"v1"}
				w.NamespaceSelector, w.ObjectSelector = &metav1.LabelSelector{}, &metav1.LabelSelector{}
				w.FailurePolicy = ptr.To([]registrationv1.FailurePolicyType{registrationv1.Fail, registrationv1.Ignore}[i%2])
				if reply == "hangs" {
					w.TimeoutSeconds = ptr.To(int32(1))
				}
				p := &passage{mutates: i < 2, webhooks: []registrationv1.MutatingWebhook{w}, replies: []string{reply}, operation: admission.Create, level: auditinternal.LevelRequest}
				p.compare(t, server)
			}
		})
	}
}
