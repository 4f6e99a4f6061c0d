package hooks

import (
	"context"
	"fmt"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	library "k8s.io/apiserver/pkg/admission/plugin/webhook"
	webhookerrors "k8s.io/apiserver/pkg/admission/plugin/webhook/errors"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	webhookrequest "k8s.io/apiserver/pkg/admission/plugin/webhook/request"
	"k8s.io/apiserver/pkg/apis/audit"
	auditing "k8s.io/apiserver/pkg/audit"
	"k8s.io/klog/v2"
)

// mutator asks webhooks that may change an object, one after the other.
type mutator struct{ asker }

var _ generic.Dispatcher = (*mutator)(nil)

// mutation is one request on its way through them.
type mutation struct {
	*mutator
	at         admission.Attributes
	interfaces admission.ObjectInterfaces
	before     *before
	again      bool
	objects    *written // nil until a webhook is asked
}

// Dispatch implements generic.Dispatcher.
func (m *mutator) Dispatch(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces, hooks []library.WebhookAccessor) error {
	r := &mutation{mutator: m, at: at, interfaces: o, before: beforeOf(at), again: at.GetReinvocationContext().IsReinvoke()}
	if r.again {
		r.before.compare(at.GetObject())
	}
	defer func() { r.before.keep(at.GetObject()) }()
	for i, h := range hooks {
		if err := r.pass(ctx, h, i); err != nil {
			return err
		}
	}
	if v := r.objects; v != nil && v.VersionedObject.Object() != nil && v.Dirty {
		return o.GetObjectConvertor().Convert(v.VersionedObject.Object(), v.Attributes.GetObject(), nil)
	}
	return nil
}

// pass asks a webhook if it is to be asked.
func (r *mutation) pass(ctx context.Context, h library.WebhookAccessor, i int) error {
	seen := r.at
	if r.objects != nil {
		seen = r.objects.VersionedAttributes
	}
	of, refused := r.webhook.ShouldCallHook(ctx, h, seen, r.interfaces, r)
	if refused != nil {
		return refused
	}
	if of == nil || r.again && !r.before.due.Has(h.GetUID()) {
		return nil
	}
	if _, err := r.VersionedAttribute(of.Kind); err != nil {
		return apierrors.NewInternalError(err)
	}
	since := time.Now()
	changed, fault := r.change(ctx, of, i)
	err := r.judge(ctx, of, r.at, since, fault, func() string { return r.key(mutating.MutationAuditAnnotationFailedOpenKeyPrefix, i) })
	if changed {
		r.before.changed()
		r.at.GetReinvocationContext().SetShouldReinvoke()
	}
	if w, ok := h.GetMutatingWebhook(); ok && w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy {
		r.before.asked.Insert(h.GetUID())
	}
	if fault != nil && err == nil && ctx.Err() != nil { // the next would have no time either
		return tooLate()
	}
	return err
}

// VersionedAttribute implements generic.VersionedAttributeAccessor: what one webhook made of the object is what the next sees, in its own version.
func (r *mutation) VersionedAttribute(kind schema.GroupVersionKind) (*admission.VersionedAttributes, error) {
	if r.objects == nil {
		v, err := admission.NewVersionedAttributes(r.at, kind, r.interfaces)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		r.objects = &written{VersionedAttributes: v}
		return v, nil
	}
	if err := admission.ConvertVersionedAttributes(r.objects.VersionedAttributes, kind, r.interfaces); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return r.objects.VersionedAttributes, nil
}

// change asks a webhook and does what it says. It is true if that has changed the object.
func (r *mutation) change(ctx context.Context, of *generic.WebhookInvocation, i int) (changed bool, err error) {
	if audited(ctx) {
		defer func() {
			r.note(ctx, audit.LevelMetadata, r.key(mutating.MutationAuditAnnotationPrefix, i),
				mutating.MutationAuditAnnotation{Configuration: of.Webhook.GetConfigurationName(), Webhook: of.Webhook.GetName(), Mutated: changed})
		}()
	}
	_ = r.objects.write() // the library says what cannot be written
	result, err := r.ask(ctx, of, r.objects)
	if err != nil || len(result.Patch) == 0 {
		return false, err
	}
	patch, err := jsonpatch.DecodePatch(result.Patch)
	if err != nil {
		return false, failed(of, fmt.Errorf("received undecodable patch in webhook response: %w", err), apierrors.NewServiceUnavailable("error decoding patch in webhook response"))
	}
	if len(patch) == 0 {
		return false, nil
	}
	if r.objects.VersionedObject.Object() == nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", of.Webhook.GetName()))
	}
	patched, err := r.patch(of, patch, result)
	if err != nil {
		return false, err
	}
	changed = !equality.Semantic.DeepEqual(r.objects.VersionedObject.Object(), patched)
	r.note(ctx, audit.LevelRequest, r.key(mutating.PatchAuditAnnotationPrefix, i),
		mutating.PatchAuditAnnotation{Configuration: of.Webhook.GetConfigurationName(), Webhook: of.Webhook.GetName(), Patch: patch, PatchType: string(result.PatchType)})
	r.objects.UpdateObject(patched)
	r.interfaces.GetObjectDefaulter().Default(patched)
	return changed, nil
}

// patch applies a patch to the object as it is written.
func (r *mutation) patch(of *generic.WebhookInvocation, patch jsonpatch.Patch, result *webhookrequest.AdmissionResponse) (runtime.Object, error) {
	if result.PatchType != reviewv1.PatchTypeJSONPatch {
		return nil, failed(of, fmt.Errorf("unsupported patch type %q", result.PatchType), webhookerrors.ToStatusErr(of.Webhook.GetName(), result.Result))
	}
	if err := r.objects.write(); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	text, err := patch.Apply(r.objects.object)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out, err := r.decode(text)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return out, nil
}

// decode reads a patched object. The library looks twice, at first for the kind that the text says it is, which is hardly ever another.
func (r *mutation) decode(text []byte) (runtime.Object, error) {
	_, custom := r.objects.VersionedObject.Object().(*unstructured.Unstructured)
	if !custom {
		out, err := r.interfaces.GetObjectCreater().New(r.objects.VersionedKind)
		if err == nil && utiljson.Unmarshal(text, out) == nil && out.GetObjectKind().GroupVersionKind() == r.objects.VersionedKind {
			return out, nil
		}
	}
	var into runtime.Object = &unstructured.Unstructured{}
	if !custom {
		var err error
		if into, err = r.interfaces.GetObjectCreater().New(r.objects.VersionedKind); err != nil {
			return nil, err
		}
	}
	out, _, err := json.NewSerializerWithOptions(json.DefaultMetaFactory, r.interfaces.GetObjectCreater(), r.interfaces.GetObjectTyper(), json.SerializerOptions{}).Decode(text, nil, into)
	return out, err
}

// key is that of a note about a webhook for the audit log.
func (r *mutation) key(prefix string, i int) string {
	round := 0
	if r.again {
		round = 1
	}
	return fmt.Sprintf("%sround_%d_index_%d", prefix, round, i)
}

// note tells the audit log, if it has what is of this level.
func (r *mutation) note(ctx context.Context, level audit.Level, key string, value any) {
	if has := auditing.AuditContextFrom(ctx); !has.Enabled() || has.GetEventLevel().Less(level) {
		return
	}
	text, err := utiljson.Marshal(value)
	if err == nil {
		err = r.at.AddAnnotationWithLevel(key, string(text), level)
	}
	if err != nil {
		klog.Warningf("Cannot note %s for the audit log: %v", key, err)
	}
}

// before is what a request's second way through the webhooks knows of the first.
type before struct {
	made  runtime.Object   // what the webhooks have made of the object; kept if anybody may have to be asked again
	asked sets.Set[string] // those that wish to see what is changed after them, and have seen all changes
	due   sets.Set[string] // those that are to be asked again
}

func beforeOf(at admission.Attributes) *before {
	c := at.GetReinvocationContext()
	if b, ok := c.Value(mutating.PluginName).(*before); ok {
		return b
	}
	b := &before{asked: sets.Set[string]{}, due: sets.Set[string]{}}
	c.SetValue(mutating.PluginName, b)
	return b
}

// compare finds out whether others have changed the object since.
func (b *before) compare(now runtime.Object) {
	if len(b.asked) > 0 && !equality.Semantic.DeepEqual(b.made, now) {
		b.changed()
	}
}

// changed has those asked again who have not seen a change.
func (b *before) changed() {
	b.due = b.due.Union(b.asked)
	b.asked = sets.Set[string]{}
}

func (b *before) keep(now runtime.Object) {
	b.made = nil
	if len(b.asked) > 0 && now != nil {
		b.made = now.DeepCopyObject()
	}
}
