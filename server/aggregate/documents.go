package aggregate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/transport"
	"k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// documentMax bounds the bytes of what a service says of itself.
const documentMax = 32 << 20

// badStatus is an answer that is none of those that were hoped for.
type badStatus struct {
	at   string
	code int
}

func (s badStatus) Error() string { return fmt.Sprintf("%s answered %d", s.at, s.code) }

// get reads one document. target is a path with a query; what else it names is not followed.
func (b *backend) get(ctx context.Context, target, accept string) (body []byte, media string, err error) {
	return b.ask(ctx, http.MethodGet, target, accept)
}

// ask sends a request in the cluster's own name and reads the answer.
func (b *backend) ask(ctx context.Context, method, target, accept string) (body []byte, media string, err error) {
	if b.fault != nil {
		return nil, "", b.fault
	}
	at, err := url.Parse(target)
	if err != nil {
		return nil, "", err
	}
	to := b.url(at.Path)
	to.RawQuery = at.RawQuery
	r, err := http.NewRequestWithContext(ctx, method, to.String(), nil)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Accept", accept)
	transport.SetAuthProxyHeaders(r, askingUser.Name, "", askingUser.Groups, nil)
	answer, err := b.transport.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && (method == http.MethodGet || answer.StatusCode != http.StatusAccepted) {
		return nil, "", badStatus{to.String(), answer.StatusCode}
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, documentMax+1))
	if err == nil && len(body) > documentMax {
		err = fmt.Errorf("%s has more than %d bytes", to, documentMax)
	}
	return body, answer.Header.Get("Content-Type"), err
}

// resources asks for the resources of the service's version: for those of all its groups at once first, as newer servers have them.
func (b *backend) resources(ctx context.Context) (apidiscoveryv2.APIVersionDiscovery, error) {
	gv := groupVersionOf(b.service)
	body, media, err := b.get(ctx, "/apis", discovery.AcceptV2)
	if err == nil && isAggregated(media) {
		var list apidiscoveryv2.APIGroupDiscoveryList
		if err := json.Unmarshal(body, &list); err != nil {
			return apidiscoveryv2.APIVersionDiscovery{}, fmt.Errorf("reading the list of groups: %w", err)
		}
		for _, g := range list.Items {
			for _, v := range g.Versions {
				if g.Name == gv.Group && v.Version == gv.Version {
					return filledIn(v), nil
				}
			}
		}
		return apidiscoveryv2.APIVersionDiscovery{}, fmt.Errorf("the service does not have %s", gv)
	}
	if ctx.Err() != nil {
		return apidiscoveryv2.APIVersionDiscovery{}, err
	}
	if body, _, err = b.get(ctx, "/apis/"+gv.Group+"/"+gv.Version, runtime.ContentTypeJSON); err != nil {
		return apidiscoveryv2.APIVersionDiscovery{}, err
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(body, &list); err != nil {
		return apidiscoveryv2.APIVersionDiscovery{}, fmt.Errorf("reading the list of resources: %w", err)
	}
	if list.Kind != "APIResourceList" {
		return apidiscoveryv2.APIVersionDiscovery{}, errors.New("the service has no list of its resources")
	}
	found, err := endpoints.ConvertGroupVersionIntoToDiscovery(list.APIResources)
	if err != nil {
		return apidiscoveryv2.APIVersionDiscovery{}, err
	}
	v := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Resources: found}
	for i := range v.Resources {
		inGroup(v.Resources[i].ResponseKind, gv.Group, gv.Version)
		for j := range v.Resources[i].Subresources {
			inGroup(v.Resources[i].Subresources[j].ResponseKind, gv.Group, gv.Version)
		}
	}
	return filledIn(v), nil
}

// inGroup fills in what the list of one version leaves out.
func inGroup(k *metav1.GroupVersionKind, group, version string) {
	if k != nil && k.Group == "" && k.Version == "" {
		k.Group, k.Version = group, version
	}
}

// filledIn has no resource without a kind, which some clients cannot read.
func filledIn(v apidiscoveryv2.APIVersionDiscovery) apidiscoveryv2.APIVersionDiscovery {
	for i := range v.Resources {
		if v.Resources[i].ResponseKind == nil {
			v.Resources[i].ResponseKind = &metav1.GroupVersionKind{}
		}
		for j := range v.Resources[i].Subresources {
			if v.Resources[i].Subresources[j].ResponseKind == nil {
				v.Resources[i].Subresources[j].ResponseKind = &metav1.GroupVersionKind{}
			}
		}
	}
	v.Freshness = apidiscoveryv2.DiscoveryFreshnessCurrent
	return v
}

func isAggregated(media string) bool {
	base, is, err := mime.ParseMediaType(media)
	return err == nil && base == runtime.ContentTypeJSON && is["g"] == apidiscoveryv2.GroupName && is["v"] == "v2" && is["as"] == "APIGroupDiscoveryList"
}

// openAPI asks where the OpenAPI document of the service's version is; "" if it has none.
func (b *backend) openAPI(ctx context.Context) (string, error) {
	body, _, err := b.get(ctx, "/openapi/v3", runtime.ContentTypeJSON)
	if err != nil {
		return "", err
	}
	var index handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(body, &index); err != nil {
		return "", fmt.Errorf("reading the list of OpenAPI documents: %w", err)
	}
	return index.Paths[b.path()].ServerRelativeURL, nil
}

// path is what the service's version is called in the list of OpenAPI documents.
func (b *backend) path() string { return "apis/" + b.service.Spec.Group + "/" + b.service.Spec.Version }

// Part is the OpenAPI document of a version that a service answers for.
type Part struct {
	Path string // "apis/GROUP/VERSION"
	Hash string // of what the document is
	V3   func() (*spec3.OpenAPI, error)
}

// Parts are the documents that services have.
func (a *Aggregator) Parts() (out []Part) {
	for _, b := range a.table.Load().backends() {
		k, ok := a.documents.of(b)
		if _, up := b.available(); !ok || !up || k.openAPI == "" {
			continue
		}
		h := sha256.Sum256([]byte(string(b.service.UID) + "\n" + k.openAPI))
		out = append(out, Part{Path: b.path(), Hash: strings.ToUpper(hex.EncodeToString(h[:])), V3: func() (*spec3.OpenAPI, error) { return b.v3(k.openAPI) }})
	}
	return out
}

func (b *backend) v3(at string) (*spec3.OpenAPI, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	body, _, err := b.get(ctx, at, runtime.ContentTypeJSON)
	if err != nil {
		return nil, err
	}
	doc := &spec3.OpenAPI{}
	if err := json.Unmarshal(body, doc); err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document of %s: %w", b.service.Name, err)
	}
	return doc, nil
}

// V2 reads the documents of version 2 that services have; those of services that do not answer are left out.
func (a *Aggregator) V2() (out []*spec.Swagger) {
	for _, b := range a.table.Load().backends() {
		if _, up := b.available(); !up {
			continue
		}
		if doc, err := b.v2(); err == nil {
			out = append(out, doc)
		}
	}
	return out
}

func (b *backend) v2() (*spec.Swagger, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	body, _, err := b.get(ctx, "/openapi/v2", runtime.ContentTypeJSON)
	if err != nil {
		return nil, err
	}
	doc := &spec.Swagger{}
	if err := json.Unmarshal(body, doc); err != nil {
		return nil, err
	}
	return aggregator.FilterSpecByPathsWithoutSideEffects(doc, []string{"/" + b.path() + "/"}), nil
}
