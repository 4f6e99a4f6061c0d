package hooks

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/informers"

	"github.com/peapod-sh/peapod/api"
)

// policies evaluates what is written in CEL.
type policies struct {
	mutating   source[*admissionv1.MutatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicyBinding, mutating.PolicyEvaluator]
	validating source[*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding, validating.Validator]
	change     generic.Dispatcher[mutating.PolicyHook]
	check      generic.Dispatcher[validating.PolicyHook]
}

func newPolicies(c Config) *policies {
	known := namespaces{state: c.State}
	m := matching.NewMatcher(known, client{namespaces: known})
	p := &policies{
		change: mutating.NewDispatcher(c.Authorizer, m, converters{c.Types}),
		check:  validating.NewDispatcher(c.Authorizer, generic.NewPolicyMatcher(m)),
	}
	p.mutating.custom, p.validating.custom = c.Custom, c.Custom
	p.mutating.state, p.mutating.policy, p.mutating.binding, p.mutating.compile = c.State, mutatingPolicyResource, mutatingBindingResource, compileMutating
	p.mutating.changes = [2]func() uint64{c.State.Changes(mutatingPolicyResource), c.State.Changes(mutatingBindingResource)}
	p.mutating.policyOf = func(b *admissionv1.MutatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }
	p.mutating.params = func(p *admissionv1.MutatingAdmissionPolicy) *admissionv1.ParamKind { return p.Spec.ParamKind }
	p.validating.state, p.validating.policy, p.validating.binding, p.validating.compile = c.State, validatingPolicyResource, validatingBindingResource, compileValidating
	p.validating.changes = [2]func() uint64{c.State.Changes(validatingPolicyResource), c.State.Changes(validatingBindingResource)}
	p.validating.policyOf = func(b *admissionv1.ValidatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }
	p.validating.params = func(p *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ParamKind { return p.Spec.ParamKind }
	return p
}

// converters gives the one converter that knows all kinds.
type converters struct{ types managedfields.TypeConverter }

func (c converters) GetTypeConverter(schema.GroupVersionKind) managedfields.TypeConverter {
	return c.types
}
func (converters) Run(context.Context) {}

func (p *policies) mutate(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if hooks := p.mutating.hooks(); len(hooks) > 0 && !ofPolicies(at) {
		return p.change.Dispatch(ctx, at, o, hooks)
	}
	return nil
}

func (p *policies) validate(ctx context.Context, at admission.Attributes, o admission.ObjectInterfaces) error {
	if hooks := p.validating.hooks(); len(hooks) > 0 && !ofPolicies(at) {
		return p.check.Dispatch(ctx, at, o, hooks)
	}
	return nil
}

// ofPolicies are the requests that no policy sees, so that none can keep itself from being removed.
func ofPolicies(at admission.Attributes) bool {
	switch at.GetResource().GroupResource() {
	case mutatingPolicyResource, mutatingBindingResource, validatingPolicyResource, validatingBindingResource:
		return true
	}
	return false
}

// source keeps the policies that are bound, compiled once for each of their versions.
type source[P, B runtime.Object, E generic.Evaluator] struct {
	state           State
	custom          CustomObjects
	policy, binding schema.GroupResource
	compile         func(P) E
	policyOf        func(B) string
	params          func(P) *admissionv1.ParamKind

	changes [2]func() uint64 // of policies, of bindings
	known   atomic.Pointer[bound[P, B, E]]

	mu       sync.Mutex
	versions []version // of policies and bindings
	compiled map[version]E
	hooked   []generic.PolicyHook[P, B, E]
}

// bound is what the local state had.
type bound[P, B runtime.Object, E generic.Evaluator] struct {
	changes [2]uint64 // that it is of, or of before
	hooks   []generic.PolicyHook[P, B, E]
}

// hooks are the policies that have a binding, as the local state has both. Every write asks, so while nothing has changed nothing is read.
func (s *source[P, B, E]) hooks() []generic.PolicyHook[P, B, E] {
	changes := [2]uint64{s.changes[0](), s.changes[1]()} // before the objects are read
	if known := s.known.Load(); known != nil && known.changes == changes {
		return known.hooks
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all, bindings := s.state.Objects(s.policy, ""), s.state.Objects(s.binding, "")
	if now := append(versionsOf(all), versionsOf(bindings)...); !slices.Equal(now, s.versions) {
		s.hooked, s.versions = s.bind(all, bindings), now
	}
	s.known.Store(&bound[P, B, E]{changes, s.hooked})
	return s.hooked
}

func (s *source[P, B, E]) bind(all, bindings []runtime.Object) (out []generic.PolicyHook[P, B, E]) {
	compiled := map[version]E{}
	for _, o := range all {
		p, ok := o.(P)
		if !ok {
			continue
		}
		m, _ := meta.Accessor(o)
		hook := generic.PolicyHook[P, B, E]{Policy: p}
		for _, b := range bindings {
			if b, ok := b.(B); ok && s.policyOf(b) == m.GetName() {
				hook.Bindings = append(hook.Bindings, b)
			}
		}
		if len(hook.Bindings) == 0 {
			continue
		}
		v := version{m.GetUID(), m.GetResourceVersion()}
		e, known := s.compiled[v]
		if !known {
			e = s.compile(p)
		}
		compiled[v], hook.Evaluator = e, e
		hook.ParamInformer, hook.ParamScope, hook.ConfigurationError = s.paramsOf(p)
		out = append(out, hook)
	}
	s.compiled = compiled
	return out
}

// paramsOf reads a policy's parameters, which are objects of any kind: those of the table's kinds straight from the local state.
func (s *source[P, B, E]) paramsOf(p P) (informers.GenericInformer, meta.RESTScope, error) {
	kind := s.params(p)
	if kind == nil {
		return nil, nil, nil
	}
	for _, k := range api.Kinds() {
		if k.Name == kind.Kind && k.GroupVersion.String() == kind.APIVersion {
			scope := meta.RESTScopeNamespace
			if k.ClusterScoped {
				scope = meta.RESTScopeRoot
			}
			return parameters{state: s.state, gr: k.GroupResource()}, scope, nil
		}
	}
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return nil, nil, err
	}
	of := customParameters{objects: s.custom, kind: gv.WithKind(kind.Kind)}
	return of, of, nil
}
