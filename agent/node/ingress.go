package node

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/agent/ingress"
	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// openIngress makes the ingress proxy, unless both of its ports are off.
func (n *node) openIngress() {
	if n.servesIngress() {
		n.ingress = ingress.New(ingress.Config{Addresses: n.addresses, HTTPPort: n.cfg.IngressHTTPPort, HTTPSPort: n.cfg.IngressHTTPSPort,
			Logger: n.log.Named("ingress")})
	}
}

func (n *node) servesIngress() bool { return n.cfg.IngressHTTPPort != 0 || n.cfg.IngressHTTPSPort != 0 }

// announceIngress says on the Node object whether clients of ingresses may be sent here. It says no, too, since what a node said
// before it was started anew would stand.
func (n *node) announceIngress(object *corev1.Node) {
	metav1.SetMetaDataAnnotation(&object.ObjectMeta, api.NodeIngressAnnotation, strconv.FormatBool(n.servesIngress()))
}

// ingress takes an event of what the ingress proxy serves.
func (s *sink) ingress(e *wire.Event) error {
	if s.synced {
		defer s.node.markDirty()
	}
	p := s.node.ingress
	if e.Type == wire.EventDeleted {
		map[string]func(){
			ingresses:      func() { p.DeleteIngress(e.Namespace, e.Name) },
			ingressClasses: func() { p.DeleteClass(e.Name) },
			secrets:        func() { p.DeleteSecret(e.Namespace, e.Name) },
		}[e.Resource]()
		return nil
	}
	switch e.Resource {
	case ingresses:
		o := &networkingv1.Ingress{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		p.PutIngress(o)
	case ingressClasses:
		o := &networkingv1.IngressClass{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		p.PutClass(o)
	case secrets:
		o := &corev1.Secret{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		return p.PutSecret(o)
	}
	return nil
}
