package hooks

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	library "k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/klog/v2"
)

// validator asks webhooks that may refuse a request, all at once.
type validator struct{ asker }

var _ generic.Dispatcher = (*validator)(nil)

// versions are the objects of a request, in each version that a webhook wants.
type versions struct {
	at         admission.Attributes
	interfaces admission.ObjectInterfaces
	known      map[schema.GroupVersionKind]*written
}

// VersionedAttribute implements generic.VersionedAttributeAccessor.
func (v *versions) VersionedAttribute(kind schema.GroupVersionKind) (*admission.VersionedAttributes, error) {
	if known, ok := v.known[kind]; ok {
		return known.VersionedAttributes, nil
	}
	at, err := admission.NewVersionedAttributes(v.at, kind, v.interfaces)
	if err != nil {
		return nil, err
	}
	v.known[kind] = &written{VersionedAttributes: at}
	return at, nil
}

// Dispatch implements generic.Dispatcher. Of several that refuse the request the first to answer is told.
func (v *validator) Dispatch(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces, hooks []library.WebhookAccessor) error {
	objects := &versions{at: at, interfaces: o, known: map[schema.GroupVersionKind]*written{}}
	asked, err := v.asked(ctx, objects, hooks)
	if err != nil || len(asked) == 0 {
		return err
	}
	if ctx.Err() != nil {
		return tooLate()
	}
	refused := make(chan error, len(asked)) // each sends one at most
	one := func(i int) {
		if err := v.check(ctx, asked[i], objects.known[asked[i].Kind], i); err != nil {
			refused <- err
		}
	}
	var wg sync.WaitGroup
	for i := 1; i < len(asked); i++ {
		wg.Go(func() { one(i) })
	}
	one(0) // mostly the only one, which needs no goroutine
	wg.Wait()
	close(refused)
	return <-refused
}

// asked are the webhooks that are to be asked; what is sent to them has been written.
func (v *validator) asked(ctx context.Context, objects *versions, hooks []library.WebhookAccessor) (out []*generic.WebhookInvocation, err error) {
	for _, h := range hooks {
		of, refused := v.webhook.ShouldCallHook(ctx, h, objects.at, objects.interfaces, objects)
		if refused != nil {
			return nil, refused
		}
		if of == nil {
			continue
		}
		if _, err := objects.VersionedAttribute(of.Kind); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		_ = objects.known[of.Kind].write() // the library says what cannot be written
		out = append(out, of)
	}
	return out, nil
}

// check asks one webhook. A panic is its failure, not the end of the process.
func (v *validator) check(ctx context.Context, of *generic.WebhookInvocation, about *written, i int) (err error) {
	key := func() string {
		return fmt.Sprintf("%sround_0_index_%d", validating.ValidatingAuditAnnotationFailedOpenKeyPrefix, i)
	}
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		klog.Errorf("Asking webhook %q: %v\n%s", of.Webhook.GetName(), fault, debug.Stack())
		if ignoresFailure(of) {
			v.failOpen(ctx, of, about.Attributes, key)
			return
		}
		err = apierrors.NewInternalError(fmt.Errorf("ValidatingAdmissionWebhook/%v has panicked: %v", of.Webhook.GetName(), fault))
	}()
	since := time.Now()
	_, err = v.ask(ctx, of, about)
	return v.judge(ctx, of, about.Attributes, since, err, key)
}
