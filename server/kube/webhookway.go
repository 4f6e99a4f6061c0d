package kube

import (
	"context"
	"net"
	"net/url"
	"strconv"

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
	way := wayToServices{w.server}
	address, err := way.Endpoint(namespace, name, int32(port)) // #nosec G115 -- a port
	if err != nil {
		return nil, err
	}
	return way.Dial(ctx, namespace, name, address)
}
