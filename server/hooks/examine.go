package hooks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// examineTimeout is how long a webhook has to be reached.
const examineTimeout = 3 * time.Second

// Finding is what is wrong with a webhook.
type Finding struct {
	Configuration, Webhook string
	// Fatal says that what the webhook is asked about is refused meanwhile.
	Fatal bool
	Fault string
}

// Examine looks whether every webhook can be reached with the certificate that it should have. It asks none of them anything.
func (h *Hooks) Examine(ctx context.Context) []Finding {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var out []Finding
	look := func(configuration, name string, c *admissionv1.WebhookClientConfig, failure *admissionv1.FailurePolicyType) {
		wg.Go(func() {
			if err := h.reach(ctx, c); err != nil {
				mu.Lock()
				defer mu.Unlock()
				out = append(out, Finding{configuration, name, failure == nil || *failure == admissionv1.Fail, err.Error()})
			}
		})
	}
	for _, o := range h.config.State.Objects(mutatingResource, "") {
		if c, ok := o.(*admissionv1.MutatingWebhookConfiguration); ok {
			for i := range c.Webhooks {
				look(c.Name, c.Webhooks[i].Name, &c.Webhooks[i].ClientConfig, c.Webhooks[i].FailurePolicy)
			}
		}
	}
	for _, o := range h.config.State.Objects(validatingResource, "") {
		if c, ok := o.(*admissionv1.ValidatingWebhookConfiguration); ok {
			for i := range c.Webhooks {
				look(c.Name, c.Webhooks[i].Name, &c.Webhooks[i].ClientConfig, c.Webhooks[i].FailurePolicy)
			}
		}
	}
	wg.Wait()
	return out
}

// reach makes the connection over which a webhook would be asked.
func (h *Hooks) reach(ctx context.Context, c *admissionv1.WebhookClientConfig) error {
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	trust := &tls.Config{}
	if len(c.CABundle) > 0 {
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(c.CABundle) {
			return errors.New("its caBundle has no certificate")
		}
	}
	conn, err := h.connect(ctx, c, trust)
	if err != nil {
		return err
	}
	defer conn.Close()
	return tls.Client(conn, trust).HandshakeContext(ctx)
}

func (h *Hooks) connect(ctx context.Context, c *admissionv1.WebhookClientConfig, trust *tls.Config) (net.Conn, error) {
	if s := c.Service; s != nil {
		trust.ServerName = s.Name + "." + s.Namespace + ".svc"
		address, err := h.config.Services.Endpoint(s.Namespace, s.Name, portOf(s))
		if err != nil {
			return nil, err
		}
		return h.config.Services.Dial(ctx, s.Namespace, s.Name, address)
	}
	if c.URL == nil {
		return nil, errors.New("it has neither a service nor a URL")
	}
	u, err := url.Parse(*c.URL)
	if err != nil {
		return nil, fmt.Errorf("its URL: %w", err)
	}
	trust.ServerName = u.Hostname()
	port := u.Port()
	if port == "" {
		port = strconv.Itoa(443)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
}
