package hooks

import (
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Policies were compiled when they were written, so an expression that no longer compiles comes of an older version of this program; its
// error is told when it is evaluated, and the policy's failure policy decides.

var celEnvironment = sync.OnceValue(func() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
})

// compiler is one for a policy, which knows its variables.
func compiler(vars []admissionv1.Variable, params *admissionv1.ParamKind) (*cel.CompositedCompiler, cel.OptionalVariableDeclarations, error) {
	with := cel.OptionalVariableDeclarations{HasParams: params != nil, HasAuthorizer: true}
	c, err := cel.NewCompositedCompiler(celEnvironment())
	if err != nil {
		return nil, with, err
	}
	for _, v := range vars {
		c.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, with, environment.StoredExpressions)
	}
	return c, with, nil
}

func conditions(c *cel.CompositedCompiler, with cel.OptionalVariableDeclarations, list []admissionv1.MatchCondition, failure *admissionv1.FailurePolicyType, kind, name string) matchconditions.Matcher {
	if len(list) == 0 {
		return nil
	}
	compiled := c.CompileCondition(accessors(list, func(m *admissionv1.MatchCondition) cel.ExpressionAccessor {
		return (*matchconditions.MatchCondition)(m)
	}), with, environment.StoredExpressions)
	return matchconditions.NewMatcher(compiled, failure, "policy", kind, name)
}

func accessors[T any](list []T, of func(*T) cel.ExpressionAccessor) []cel.ExpressionAccessor {
	out := make([]cel.ExpressionAccessor, len(list))
	for i := range list {
		out[i] = of(&list[i])
	}
	return out
}

func compileValidating(p *admissionv1.ValidatingAdmissionPolicy) validating.Validator {
	s := &p.Spec
	c, with, err := compiler(s.Variables, s.ParamKind)
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, s.FailurePolicy, err)
	}
	messages := cel.OptionalVariableDeclarations{HasParams: with.HasParams}
	return validating.NewValidator(
		c.CompileCondition(accessors(s.Validations, func(v *admissionv1.Validation) cel.ExpressionAccessor {
			return &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
		}), with, environment.StoredExpressions),
		conditions(c, with, s.MatchConditions, s.FailurePolicy, "validate", p.Name),
		c.CompileCondition(accessors(s.AuditAnnotations, func(a *admissionv1.AuditAnnotation) cel.ExpressionAccessor {
			return &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}
		}), with, environment.StoredExpressions),
		c.CompileCondition(accessors(s.Validations, func(v *admissionv1.Validation) cel.ExpressionAccessor {
			if v.MessageExpression == "" {
				return nil
			}
			return &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}), messages, environment.StoredExpressions),
		s.FailurePolicy, nil)
}

func compileMutating(p *admissionv1.MutatingAdmissionPolicy) mutating.PolicyEvaluator {
	s := &p.Spec
	c, with, err := compiler(s.Variables, s.ParamKind)
	if err != nil {
		return mutating.PolicyEvaluator{Error: &apiservercel.Error{Type: apiservercel.ErrorTypeInternal, Detail: fmt.Sprintf("failed to initialize CEL compiler: %v", err)}}
	}
	out := mutating.PolicyEvaluator{CompositedCompiler: c, Matcher: conditions(c, with, s.MatchConditions, s.FailurePolicy, "admit", p.Name)}
	patches := with
	patches.HasPatchTypes = true
	for _, m := range s.Mutations {
		switch {
		case m.PatchType == admissionv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			out.Mutators = append(out.Mutators, patch.NewJSONPatcher(c.CompileMutatingEvaluator(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, patches, environment.StoredExpressions)))
		case m.PatchType == admissionv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			out.Mutators = append(out.Mutators, patch.NewApplyConfigurationPatcher(c.CompileMutatingEvaluator(&patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, patches, environment.StoredExpressions)))
		}
	}
	return out
}
