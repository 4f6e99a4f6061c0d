package ingress

import (
	"crypto/tls"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/peapod-sh/peapod/api"
)

type name struct{ namespace, name string }

// model holds the watched objects. What is known stays in force while a watch starts over.
type model struct {
	mu   sync.Mutex
	live *objects
	next *objects // nil unless a watch starts over
}

type objects struct {
	ingresses    map[name]*networkingv1.Ingress
	classes      map[string]bool // those with the built-in controller
	certificates map[name]*tls.Certificate
}

func newObjects() *objects {
	return &objects{ingresses: map[name]*networkingv1.Ingress{}, classes: map[string]bool{}, certificates: map[name]*tls.Certificate{}}
}

// Begin says that a watch starts over; what it does not tell until Synced is gone.
func (p *Proxy) Begin() {
	p.model.mu.Lock()
	defer p.model.mu.Unlock()
	p.model.next = newObjects()
}

// Synced puts what was told since Begin in force.
func (p *Proxy) Synced() {
	p.model.mu.Lock()
	defer p.model.mu.Unlock()
	if p.model.next != nil {
		p.model.live, p.model.next = p.model.next, nil
	}
}

func (m *model) edit(change func(*objects)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next != nil {
		change(m.next)
		return
	}
	change(m.live)
}

// PutIngress takes an ingress as it is now.
func (p *Proxy) PutIngress(in *networkingv1.Ingress) {
	p.model.edit(func(o *objects) { o.ingresses[name{in.Namespace, in.Name}] = in })
}

// DeleteIngress forgets one.
func (p *Proxy) DeleteIngress(namespace, n string) {
	p.model.edit(func(o *objects) { delete(o.ingresses, name{namespace, n}) })
}

// PutClass takes a class as it is now.
func (p *Proxy) PutClass(c *networkingv1.IngressClass) {
	p.model.edit(func(o *objects) { o.classes[c.Name] = c.Spec.Controller == api.IngressController })
}

// DeleteClass forgets one.
func (p *Proxy) DeleteClass(n string) { p.model.edit(func(o *objects) { delete(o.classes, n) }) }

// PutSecret takes a certificate and its key. One that cannot be read takes the place of what was there all the same.
func (p *Proxy) PutSecret(s *corev1.Secret) error {
	k := name{s.Namespace, s.Name}
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		p.DeleteSecret(s.Namespace, s.Name)
		return fmt.Errorf("reading the certificate of Secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	p.model.edit(func(o *objects) { o.certificates[k] = &pair })
	return nil
}

// DeleteSecret forgets one.
func (p *Proxy) DeleteSecret(namespace, n string) {
	p.model.edit(func(o *objects) { delete(o.certificates, name{namespace, n}) })
}
