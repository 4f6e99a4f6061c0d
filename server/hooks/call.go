package hooks

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/admission"
	sources "k8s.io/apiserver/pkg/admission/configuration"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

// answerMax bounds a webhook's answer, in bytes: a patch of the largest object in base64, and some more.
const answerMax = 16 << 20

const (
	// idlePerHookMax is how many connections to one webhook wait for the next question. Those of one that is asked no more end after 90 s.
	idlePerHookMax = 128
	idleMax        = 1024
	// dialTimeout and keepAlive are client-go's.
	dialTimeout = 30 * time.Second
	keepAlive   = 30 * time.Second
)

// webhooks are those of one type: the library's part that says which of them are asked, and the table that it knows them from.
type webhooks struct {
	*table
	library *generic.Webhook
}

func newMutating(c Config, leave []hook) (*webhooks, error) {
	m := &mutator{asker{step: "admit", changes: true}}
	w, err := generic.NewWebhook(everyOperation(), nil, sources.NewMutatingWebhookConfigurationManager, func(clients *webhook.ClientManager) generic.Dispatcher {
		m.clients = clients
		return m
	})
	if err != nil {
		return nil, err
	}
	m.webhook = w
	return prepare(w, c, newTable(c.State, mutatingResource, without(leave)))
}

func newValidating(c Config, leave []hook) (*webhooks, error) {
	v := &validator{asker{step: "validating"}}
	w, err := generic.NewWebhook(everyOperation(), nil, sources.NewValidatingWebhookConfigurationManager, func(clients *webhook.ClientManager) generic.Dispatcher {
		v.clients = clients
		return v
	})
	if err != nil {
		return nil, err
	}
	v.webhook = w
	return prepare(w, c, newTable(c.State, validatingResource, without(leave)))
}

func everyOperation() *admission.Handler {
	return admission.NewHandler(admission.Connect, admission.Create, admission.Delete, admission.Update)
}

func prepare(w *generic.Webhook, c Config, t *table) (*webhooks, error) {
	w.SetExternalKubeClientSet(client{namespaces: namespaces{state: c.State, table: t}})
	w.SetExternalKubeInformerFactory(factory{table: t})
	w.SetServiceResolver(resolver{c.Services})
	w.SetAuthenticationInfoResolverWrapper(func(webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return callers(c)
	})
	w.SetUnconditionalAuthorizer(c.Authorizer)
	return &webhooks{t, w}, w.ValidateInitialization()
}

var _ authorizer.UnconditionalAuthorizer = authorizer.Authorizer(nil)

// callers gives the ways to webhooks: none is told who the caller is but by what its certificate is checked against.
func callers(c Config) webhook.AuthenticationInfoResolver {
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(string) (*rest.Config, error) {
			// A dialer of its own gives the webhook a transport of its own.
			return c.waiting(Guarded(&rest.Config{Dial: (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext})), nil
		},
		ClientConfigForServiceFunc: func(name, namespace string, _ int) (*rest.Config, error) {
			return c.waiting(Guarded(&rest.Config{Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
				return c.Services.Dial(ctx, namespace, name, address)
			}})), nil
		},
	}
}

// waiting has Waits told of what is asked through a client, but not of what has been asked already.
func (c Config) waiting(to *rest.Config) *rest.Config {
	if c.Waits != nil {
		to.Wrap(func(next http.RoundTripper) http.RoundTripper { return announcer{next, c.Waits} })
	}
	to.Wrap(func(next http.RoundTripper) http.RoundTripper { return retelling{next} })
	return to
}

type announcer struct {
	next  http.RoundTripper
	waits func(ctx context.Context)
}

func (a announcer) RoundTrip(r *http.Request) (*http.Response, error) {
	a.waits(r.Context())
	return a.next.RoundTrip(r)
}

// Guarded makes a client of webhooks one that follows no redirects and reads no answer without end. Its dialer must be its own.
func Guarded(c *rest.Config) *rest.Config {
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		keepIdle(next)
		return guard{next}
	})
	return c
}

// keepIdle lets a transport, which nobody has used yet, keep more connections than the few of client-go: what is asked about webhooks comes
// from as many requests at once as clients send, and a handshake takes longer than what is asked.
func keepIdle(rt http.RoundTripper) {
	for {
		switch t := rt.(type) {
		case *http.Transport:
			t.MaxIdleConnsPerHost, t.MaxIdleConns = idlePerHookMax, idleMax
			return
		case utilnet.RoundTripperWrapper:
			rt = t.WrappedRoundTripper()
		default:
			return
		}
	}
}

// guard refuses what would lead the server astray: redirects, which a webhook could send it anywhere with, and answers without end.
type guard struct{ next http.RoundTripper }

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Body.Close()
		return nil, fmt.Errorf("the webhook answered with a redirect to %q, which is not followed", to)
	}
	resp.Body = &bounded{resp.Body, answerMax}
	return resp, nil
}

type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the webhook's answer is longer than %d bytes", answerMax)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

type resolver struct{ services Services }

// ResolveEndpoint implements webhook.ServiceResolver.
func (r resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	address, err := r.services.Endpoint(namespace, name, port)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: "https", Host: address}, nil
}
