package aggregate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// State is what the package reads of the cluster. Nothing that it gives may be changed.
type State interface {
	// Object finds an object; nil if there is none.
	Object(gr schema.GroupResource, namespace, name string) runtime.Object
	// Objects lists what there is in a namespace, or of a kind that has none, by name.
	Objects(gr schema.GroupResource, namespace string) []runtime.Object
}

// The kinds that say where an APIService's service is.
var (
	Services = schema.GroupResource{Resource: "services"}
	Slices   = schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}
)

const (
	// askTime is how long a service may take to say that it is there.
	askTime = 5 * time.Second
	// askTries is how often it is asked within that time: of several endpoints one may have just gone.
	askTries = 5
)

// askingUser is who asks services about themselves. Every API server lets the group do everything.
var askingUser = &user.DefaultInfo{Name: "system:kube-aggregator", Groups: []string{user.SystemPrivilegedGroup}}

func condition(status apiregistrationv1.ConditionStatus, reason, format string, args ...any) apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Missing says what an APIService's service lacks to be asked; ok if nothing.
func Missing(s *apiregistrationv1.APIService, state State) (c apiregistrationv1.APIServiceCondition, ok bool) {
	ref := s.Spec.Service
	service, found := state.Object(Services, ref.Namespace, ref.Name).(*corev1.Service)
	no := func(reason, format string, args ...any) (apiregistrationv1.APIServiceCondition, bool) {
		return condition(apiregistrationv1.ConditionFalse, reason, format, args...), false
	}
	if !found {
		return no("ServiceNotFound", "service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	if service.Spec.Type != corev1.ServiceTypeClusterIP {
		return c, true
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == portOf(ref) })
	if i < 0 {
		return no("ServicePortError", "service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, portOf(ref))
	}
	all := slicesOf(state, ref)
	if len(all) == 0 {
		return no("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace)
	}
	port := service.Spec.Ports[i].Name
	if !slices.ContainsFunc(all, func(s *discoveryv1.EndpointSlice) bool { return hasReady(s, port) }) {
		return no("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, port)
	}
	return c, true
}

func slicesOf(state State, ref *apiregistrationv1.ServiceReference) (out []*discoveryv1.EndpointSlice) {
	for _, o := range state.Objects(Slices, ref.Namespace) {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok && s.Labels[discoveryv1.LabelServiceName] == ref.Name {
			out = append(out, s)
		}
	}
	return out
}

func hasReady(s *discoveryv1.EndpointSlice, port string) bool {
	return slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
		return p.Name == nil && port == "" || p.Name != nil && *p.Name == port
	}) &&
		slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
			return len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready)
		})
}

func portOf(ref *apiregistrationv1.ServiceReference) int32 {
	if ref.Port != nil {
		return *ref.Port
	}
	return 443
}

// Available asks a service whether it answers for its version of its group.
func (a *Aggregator) Available(ctx context.Context, s *apiregistrationv1.APIService) apiregistrationv1.APIServiceCondition {
	b := a.newBackend(s)
	defer b.close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var err error
	for range askTries {
		if err = b.answers(ctx); err == nil {
			return condition(apiregistrationv1.ConditionTrue, "Passed", "all checks passed")
		}
		select {
		case <-ctx.Done():
			return condition(apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck", "%v", err)
		case <-time.After(askTime / 50):
		}
	}
	return condition(apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck", "%v", err)
}

// answers wants an answer of the kind that says yes; what it is nobody reads.
func (b *backend) answers(ctx context.Context) error {
	to := b.url("/apis/" + b.service.Spec.Group + "/" + b.service.Spec.Version)
	if b.fault != nil {
		return b.fault
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return err
	}
	transport.SetAuthProxyHeaders(r, askingUser.Name, "", askingUser.Groups, nil)
	answer, err := b.transport.RoundTrip(r)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("timed out waiting for %v", to)
	}
	if err != nil {
		return fmt.Errorf("failing or missing response from %v: %w", to, err)
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 1<<10) // enough to use the connection again, for most
	_ = answer.Body.Close()
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("failing or missing response from %v: bad status from %v: %d", to, to, answer.StatusCode)
	}
	return nil
}
