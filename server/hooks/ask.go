package hooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/metrics"
	webhookerrors "k8s.io/apiserver/pkg/admission/plugin/webhook/errors"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	webhookrequest "k8s.io/apiserver/pkg/admission/plugin/webhook/request"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/klog/v2"
)

// asker asks single webhooks, of one type. It takes the place of the library's own dispatchers, which encode and decode everything anew
// for each webhook; what is asked, and what is made of an answer or of a fault, is to the letter what they do.
type asker struct {
	webhook *generic.Webhook // says which webhooks are asked about a request, and in which version
	clients *webhook.ClientManager
	step    string // the type's name in metrics
	changes bool   // whether answers have patches
}

// ask asks a webhook about objects. The answer is one that admits them; the error is *webhook.ErrCallingWebhook if there was no usable
// answer, which the failure policy is about, and *webhook.ErrWebhookRejection if the webhook refuses them.
func (a *asker) ask(ctx context.Context, of *generic.WebhookInvocation, about *written) (*webhookrequest.AdmissionResponse, error) {
	h := of.Webhook
	if err := runsDry(of, about.Attributes); err != nil {
		return nil, err
	}
	uid, request, response, err := webhookrequest.CreateAdmissionObjects(about.VersionedAttributes, of)
	if err != nil {
		return nil, failed(of, fmt.Errorf("could not create admission objects: %w", err), apierrors.NewBadRequest("error creating admission objects"))
	}
	client, err := h.GetRESTClient(a.clients)
	if err != nil {
		return nil, failed(of, fmt.Errorf("could not get REST client: %w", err), apierrors.NewInternalError(err))
	}
	if seconds := h.GetTimeoutSeconds(); seconds != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*seconds)*time.Second)
		defer cancel()
	}
	if err = post(ctx, client, about, request, response); err != nil {
		var status *apierrors.StatusError
		if s, ok := err.(*apierrors.StatusError); ok { //nolint:errorlint // one that the client itself gives, as in the library
			status = s
		} else {
			status = apierrors.NewServiceUnavailable("error calling webhook")
		}
		return nil, failed(of, fmt.Errorf("failed to call webhook: %w", err), status)
	}
	result, err := webhookrequest.VerifyAdmissionResponse(uid, a.changes, response)
	if err != nil {
		return nil, failed(of, fmt.Errorf("received invalid webhook response: %w", err), apierrors.NewServiceUnavailable("error validating webhook response"))
	}
	for k, v := range result.AuditAnnotations {
		annotate(ctx, about.Attributes, h.GetName()+"/"+k, v)
	}
	for _, w := range result.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	if !result.Allowed {
		return nil, &webhook.ErrWebhookRejection{Status: webhookerrors.ToStatusErr(h.GetName(), result.Result)}
	}
	return result, nil
}

// runsDry says whether a webhook can be asked about a request that must have no effect.
func runsDry(of *generic.WebhookInvocation, at admission.Attributes) error {
	if !at.IsDryRun() {
		return nil
	}
	const unknown = "Webhook SideEffects is nil"
	switch effects := of.Webhook.GetSideEffects(); {
	case effects == nil:
		return failed(of, errors.New(unknown), apierrors.NewBadRequest(unknown))
	case *effects != admissionv1.SideEffectClassNone && *effects != admissionv1.SideEffectClassNoneOnDryRun:
		return webhookerrors.NewDryRunUnsupportedErr(of.Webhook.GetName())
	}
	return nil
}

func failed(of *generic.WebhookInvocation, reason error, status *apierrors.StatusError) error {
	return &webhook.ErrCallingWebhook{WebhookName: of.Webhook.GetName(), Reason: reason, Status: status}
}

func ignoresFailure(of *generic.WebhookInvocation) bool {
	p := of.Webhook.GetFailurePolicy()
	return p != nil && *p == admissionv1.Ignore
}

// judge makes of what came of asking what the request ends with: nil if it goes on. It counts all in the library's metrics. A webhook
// that could not be asked, and whose failures are to be ignored, is noted in the audit log by a key.
func (a *asker) judge(ctx context.Context, of *generic.WebhookInvocation, at admission.Attributes, since time.Time, err error, key func() string) error {
	name, code, cause := of.Webhook.GetName(), 200, metrics.WebhookRejectionErrorType("")
	verdict, rejected, gaveUp, open := err, err != nil, false, false
	switch e := err.(type) { //nolint:errorlint // asking makes them, and wraps none
	case nil:
	case *webhook.ErrCallingWebhook:
		code, cause, verdict = int(e.Status.ErrStatus.Code), metrics.WebhookRejectionCallingWebhookError, apierrors.NewInternalError(err)
		gaveUp, open = errors.Is(e.Reason, context.Canceled), ignoresFailure(of)
		if open {
			verdict, rejected = nil, false
		}
	case *webhook.ErrWebhookRejection:
		code, cause, verdict = int(e.Status.ErrStatus.Code), metrics.WebhookRejectionNoError, e.Status
	default:
		code, cause = 0, metrics.WebhookRejectionAPIServerInternalError
	}
	metrics.Metrics.ObserveWebhook(ctx, name, time.Since(since), rejected, at, a.step, code)
	if rejected && !gaveUp { // the client's going is no fault of the webhook
		metrics.Metrics.ObserveWebhookRejection(ctx, name, a.step, string(at.GetOperation()), cause, code)
	}
	if err != nil {
		klog.Warningf("Webhook %q, failing open %v: %v", name, open, err)
	}
	if open && !gaveUp {
		a.failOpen(ctx, of, at, key)
	}
	return verdict
}

func (a *asker) failOpen(ctx context.Context, of *generic.WebhookInvocation, at admission.Attributes, key func() string) {
	metrics.Metrics.ObserveWebhookFailOpen(ctx, of.Webhook.GetName(), a.step)
	if audited(ctx) {
		annotate(ctx, at, key(), of.Webhook.GetName())
	}
}

// audited says whether anybody reads what is noted about a request.
func audited(ctx context.Context) bool { return audit.AuditContextFrom(ctx).Enabled() }

func annotate(ctx context.Context, at admission.Attributes, key, value string) {
	if !audited(ctx) {
		return
	}
	if err := at.AddAnnotation(key, value); err != nil {
		klog.Warningf("Cannot note %s=%s for the audit log: %v", key, value, err)
	}
}

func tooLate() error {
	return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
}
