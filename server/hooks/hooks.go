package hooks

import (
	"context"
	"fmt"
	"net"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// State is what the package reads of the cluster. Nothing that it gives may be changed.
type State interface {
	// Object finds an object; nil if there is none.
	Object(gr schema.GroupResource, namespace, name string) runtime.Object
	// Objects lists what there is in a namespace, or of a kind that has none, by name.
	Objects(gr schema.GroupResource, namespace string) []runtime.Object
	// Changes makes a function that says, without a lock, how often a kind's objects have changed.
	Changes(gr schema.GroupResource) func() uint64
}

// Services reaches what is behind services.
type Services interface {
	// Endpoint picks the address, host:port, of something ready behind a service's port. An error says what is missing.
	Endpoint(namespace, service string, port int32) (string, error)
	// Dial connects to such an address.
	Dial(ctx context.Context, namespace, service, address string) (net.Conn, error)
}

// Config is what Hooks are made of.
type Config struct {
	State    State
	Services Services
	// Authorizer answers the expressions that ask what a user may do.
	Authorizer authorizer.Authorizer
	// Custom reads the parameters of policies that are custom resources.
	Custom CustomObjects
	// Types knows the fields of every kind, for policies that apply a configuration.
	Types managedfields.TypeConverter
	// Waits is told of every request that is about to wait for a webhook; nil is not.
	Waits func(ctx context.Context)
}

// Hooks asks the webhooks and policies that the state names.
type Hooks struct {
	config     Config
	mutating   *webhooks
	validating *webhooks
	policies   *policies
}

var (
	_ admission.MutationInterface   = (*Hooks)(nil)
	_ admission.ValidationInterface = (*Hooks)(nil)
)

func resource(name string) schema.GroupResource {
	return schema.GroupResource{Group: admissionv1.GroupName, Resource: name}
}

var (
	mutatingResource          = resource("mutatingwebhookconfigurations")
	validatingResource        = resource("validatingwebhookconfigurations")
	mutatingPolicyResource    = resource("mutatingadmissionpolicies")
	mutatingBindingResource   = resource("mutatingadmissionpolicybindings")
	validatingPolicyResource  = resource("validatingadmissionpolicies")
	validatingBindingResource = resource("validatingadmissionpolicybindings")
)

// New makes the hooks of a server.
func New(c Config) (*Hooks, error) {
	h := &Hooks{config: c, policies: newPolicies(c)}
	var err error
	if h.mutating, err = newMutating(c, nil); err != nil {
		return nil, fmt.Errorf("preparing mutating webhooks: %w", err)
	}
	if h.validating, err = newValidating(c, nil); err != nil {
		return nil, fmt.Errorf("preparing validating webhooks: %w", err)
	}
	return h, nil
}

// Handles implements admission.Interface.
func (h *Hooks) Handles(admission.Operation) bool { return true }

// Admit lets policies and webhooks change the object, or refuse the request.
func (h *Hooks) Admit(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if exempt(at) {
		return nil
	}
	if at.GetOperation() != admission.Delete { // which has nothing to change
		if err := h.policies.mutate(ctx, at, o); err != nil {
			return err
		}
	}
	known := h.mutating.configured()
	if !known.webhooks {
		return nil
	}
	circular := h.circular(at, known.services)
	if len(circular) == 0 {
		return patched(ctx, h.mutating.library, at, o)
	}
	p, err := newMutating(h.config, circular)
	if err != nil {
		return err
	}
	p.configured()
	warnOfCircle(ctx, circular)
	return patched(ctx, p.library, at, o)
}

// MayChange says whether there is anything that may change objects.
func (h *Hooks) MayChange() bool {
	return h.mutating.configured().webhooks || len(h.policies.mutating.hooks()) > 0
}

// patched asks the mutating webhooks. The library that applies their patches does not survive some of them, as one that replaces the whole
// object by no value, and not all who create objects are requests, which would end alone.
func patched(ctx context.Context, w *generic.Webhook, at admission.Attributes, o admission.ObjectInterfaces) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = apierrors.NewInternalError(fmt.Errorf("a mutating webhook's patch cannot be applied to %s %q: %v", at.GetResource().GroupResource(), at.GetName(), fault))
		}
	}()
	return w.Dispatch(ctx, at, o)
}

// Validate lets policies and webhooks refuse the object as it would be stored.
func (h *Hooks) Validate(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if exempt(at) {
		return nil
	}
	if err := h.policies.validate(ctx, at, o); err != nil {
		return err
	}
	known := h.validating.configured()
	if !known.webhooks {
		return nil
	}
	circular := h.circular(at, known.services)
	if len(circular) == 0 {
		return h.validating.library.Dispatch(ctx, at, o)
	}
	p, err := newValidating(h.config, circular)
	if err != nil {
		return err
	}
	p.configured()
	warnOfCircle(ctx, circular)
	return p.library.Dispatch(ctx, at, o)
}

// exempt are reviews: a webhook must not keep anybody from asking what they may do.
func exempt(at admission.Attributes) bool {
	g := at.GetResource().Group
	return g == "authorization.k8s.io" || g == "authentication.k8s.io"
}
