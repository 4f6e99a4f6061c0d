package kube

import (
	"context"
	"net"
	"net/url"
	"strconv"

	"k8s.io/apiserver/pkg/util/webhook"
	restclient "k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/server/hooks"
)

// webhookWay is how this server reaches webhooks that are services of the cluster: over a node that has a ready endpoint, as a server
// need not be in the cluster's network itself.
type webhookWay struct{ server *Server }

var _ webhook.ServiceResolver = webhookWay{}

// ResolveEndpoint names the service for the dialer that wrap gives, which finds the endpoint.
func (w webhookWay) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(name+"."+namespace+".svc", strconv.Itoa(int(port)))}, nil
}

// wrap gives the clients of services their dialer, and all of them an end: the library waits for a conversion as long as it takes.
func (w webhookWay) wrap(inner webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(host string) (*restclient.Config, error) {
			c, err := inner.ClientConfigFor(host)
			if err != nil {
				return nil, err
			}
			return w.bounded(c, (&net.Dialer{}).DialContext), nil
		},
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*restclient.Config, error) {
			c, err := inner.ClientConfigForService(name, namespace, port)
			if err != nil {
				return nil, err
			}
			return w.bounded(c, func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx, namespace, name, port) }), nil
		},
	}
}

func (w webhookWay) bounded(c *restclient.Config, dial func(ctx context.Context, network, address string) (net.Conn, error)) *restclient.Config {
	c = restclient.CopyConfig(c)
	c.Dial, c.Timeout = dial, w.server.config.Limits.Conversion
	return hooks.Guarded(c)
}

func (w webhookWay) dial(ctx context.Context, namespace, name string, port int) (net.Conn, error) {
	way := wayToServices{w.server}
	address, err := way.Endpoint(namespace, name, int32(port)) // #nosec G115 -- a port
	if err != nil {
		return nil, err
	}
	return way.Dial(ctx, namespace, name, address)
}
