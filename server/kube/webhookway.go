package kube

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/util/webhook"
	restclient "k8s.io/client-go/rest"
)

// webhookWay is how this server reaches webhooks that are services of the cluster: over a node that has a ready endpoint, as a server
// need not be in the cluster's network itself.
type webhookWay struct{ server *Server }

var _ webhook.ServiceResolver = webhookWay{}

// ResolveEndpoint names the service for the dialer that wrap gives, which finds the endpoint.
func (w webhookWay) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(name+"."+namespace+".svc", strconv.Itoa(int(port)))}, nil
}

// wrap gives the clients of services their dialer.
func (w webhookWay) wrap(inner webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: inner.ClientConfigFor,
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*restclient.Config, error) {
			c, err := inner.ClientConfigForService(name, namespace, port)
			if err != nil {
				return nil, err
			}
			c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx, namespace, name, port) }
			return c, nil
		},
	}
}

func (w webhookWay) dial(ctx context.Context, namespace, name string, port int) (net.Conn, error) {
	s := w.server
	if s.config.Nodes == nil {
		return nil, apierrors.NewServiceUnavailable("this server has no way to the nodes")
	}
	o, ok := s.config.Store.Get(servicesResource, namespace, name)
	if !ok {
		return nil, fmt.Errorf("service %s/%s does not exist", namespace, name)
	}
	service := o.(*corev1.Service)
	p, err := servicePort(service, strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	to, err := s.endpoint(service, p.Name, "https")
	if err != nil {
		return nil, err
	}
	return dialFrom(ctx, s.config.Nodes, to.node, to.address)
}
