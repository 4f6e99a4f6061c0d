// Command extension is an API server as others write them, on k8s.io/apiserver: it serves orders.shop.example/v1 from memory and leaves it
// to the cluster who a user is and what they may do. Beside it, it is a webhook that converts and one that admits. Tests run it in a pod.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
)

var group = schema.GroupVersion{Group: "shop.example", Version: "v1"}

// newScheme has the types as the internal version too, as there is one version only.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	s.AddKnownTypes(group, &Order{}, &OrderList{})
	s.AddKnownTypes(schema.GroupVersion{Group: group.Group, Version: runtime.APIVersionInternal}, &Order{}, &OrderList{})
	metav1.AddToGroupVersion(s, group)
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	s.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	return s
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	scheme := newScheme()
	codecs := serializer.NewCodecFactory(scheme)
	o := options.NewRecommendedOptions("", codecs.LegacyCodec(group))
	o.SecureServing.BindPort = 8443
	o.SecureServing.BindAddress = net.IPv4zero
	o.SecureServing.ServerCert.CertKey = options.CertKey{CertFile: "/cert/tls.crt", KeyFile: "/cert/tls.key"}
	c := server.NewRecommendedConfig(codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	namer := openapi.NewDefinitionNamer(scheme)
	c.OpenAPIConfig, c.OpenAPIV3Config = server.DefaultOpenAPIConfig(definitions, namer), server.DefaultOpenAPIV3Config(definitions, namer)
	c.OpenAPIConfig.Info.Title, c.OpenAPIV3Config.Info.Title = "Shop", "Shop"
	for _, apply := range []func() error{
		func() error { return o.SecureServing.ApplyTo(&c.SecureServing, &c.LoopbackClientConfig) },
		func() error { return o.Authentication.ApplyTo(&c.Authentication, c.SecureServing, c.OpenAPIConfig) },
		func() error { return o.Authorization.ApplyTo(&c.Authorization) },
		func() error { return o.CoreAPI.ApplyTo(c) },
	} {
		if err := apply(); err != nil {
			return err
		}
	}
	s, err := c.Complete().New("shop", server.NewEmptyDelegate())
	if err != nil {
		return err
	}
	info := server.NewDefaultAPIGroupInfo(group.Group, scheme, metav1.ParameterCodec, codecs)
	info.PrioritizedVersions = []schema.GroupVersion{group}
	info.VersionedResourcesStorageMap[group.Version] = map[string]rest.Storage{"orders": newOrders()}
	if err := s.InstallAPIGroup(&info); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.PrepareRun().RunWithContext(ctx) })
	g.Go(func() error { return serveWebhooks(ctx) })
	return g.Wait()
}
