package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// IngressController is the controller of the classes whose ingresses every node serves by itself.
	IngressController = "peapod.sh/ingress"
	// NodeIngressAnnotation of a Node says "true" if the node serves ingresses.
	NodeIngressAnnotation = "peapod.sh/ingress"

	// IngressRedirect is an annotation of ingresses: "true" sends clients of plain HTTP to HTTPS.
	IngressRedirect = "ingress.peapod.sh/ssl-redirect"
	// IngressTimeout is an annotation of ingresses: how long a backend may take until its response begins ("90s"); "0s" is for ever.
	IngressTimeout = "ingress.peapod.sh/response-timeout"
	// IngressBodyMax is an annotation of ingresses: the largest body of a request ("8Mi"). Without it any is taken.
	IngressBodyMax = "ingress.peapod.sh/max-body-size"
	// IngressBackend is an annotation of ingresses: what all of its backends speak, whatever their services say by appProtocol: http, https, h2c (HTTP/2
	// without TLS), grpc or grpcs.
	IngressBackend = "ingress.peapod.sh/backend-protocol"
)

// IngressClassOf names the class of an ingress, by the field or by the annotation that there was before it; "" is none.
func IngressClassOf(in *networkingv1.Ingress) string {
	if in.Spec.IngressClassName != nil {
		return *in.Spec.IngressClassName
	}
	return in.Annotations[annotationIngressClass]
}

// IngressNamesSecret says whether an ingress has its certificate in that Secret of its namespace.
func IngressNamesSecret(in *networkingv1.Ingress, secret string) bool {
	return secret != "" && slices.ContainsFunc(in.Spec.TLS, func(t networkingv1.IngressTLS) bool { return t.SecretName == secret })
}

// IngressBackends calls fn with every backend of an ingress.
func IngressBackends(in *networkingv1.Ingress, fn func(*networkingv1.IngressBackend)) {
	if in.Spec.DefaultBackend != nil {
		fn(in.Spec.DefaultBackend)
	}
	for i := range in.Spec.Rules {
		if r := &in.Spec.Rules[i]; r.HTTP != nil {
			for j := range r.HTTP.Paths {
				fn(&r.HTTP.Paths[j].Backend)
			}
		}
	}
}

// IngressOptions are what annotations of an ingress say.
type IngressOptions struct {
	Redirect bool          // to HTTPS
	Timeout  time.Duration // until a response begins; 0 is for ever
	BodyMax  int64         // bytes; 0 is no limit
	Backend  string        // what backends speak, in small letters; "" is what their services say
}

// ReadIngressOptions reads them. What cannot be read has its default, and a sentence in faults.
func ReadIngressOptions(in *networkingv1.Ingress) (o IngressOptions, faults []string) {
	o = IngressOptions{Redirect: in.Annotations[IngressRedirect] == "true", Timeout: ingressTimeout}
	if text, ok := in.Annotations[IngressTimeout]; ok {
		if d, err := time.ParseDuration(text); err == nil && d >= 0 {
			o.Timeout = d
		} else {
			faults = append(faults, fmt.Sprintf("annotation %s: %q is not a duration such as 90s", IngressTimeout, text))
		}
	}
	if text, ok := in.Annotations[IngressBodyMax]; ok {
		if q, err := resource.ParseQuantity(text); err == nil && q.Sign() >= 0 {
			o.BodyMax = q.Value()
		} else {
			faults = append(faults, fmt.Sprintf("annotation %s: %q is not a quantity such as 8Mi", IngressBodyMax, text))
		}
	}
	if text, ok := in.Annotations[IngressBackend]; ok {
		if p := strings.ToLower(text); slices.Contains(ingressBackends, p) {
			o.Backend = p
		} else {
			faults = append(faults, fmt.Sprintf("annotation %s: %q is none of %s", IngressBackend, text, strings.Join(ingressBackends, ", ")))
		}
	}
	return o, faults
}

var ingressBackends = []string{"http", "https", "h2c", "grpc", "grpcs"}

// ingressTimeout is how long a backend may take to answer unless an ingress says otherwise, as in the proxies that people know.
const ingressTimeout = 60 * time.Second
