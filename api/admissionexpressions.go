package api

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// expressions compiles the CEL of webhooks' and policies' objects in the environment in which they are evaluated. One that was accepted
// before may use what a new one may not.
type expressions struct {
	compiler  *cel.CompositedCompiler // nil of webhooks, which have no variables
	plain     cel.Compiler
	variables cel.OptionalVariableDeclarations
	mode      environment.Type
}

var expressionEnvironment = sync.OnceValue(func() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
})

var hookCompiler = sync.OnceValue(func() cel.Compiler { return cel.NewCompiler(expressionEnvironment()) })

func expressionMode(stored bool) environment.Type {
	if stored {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

func hookExpressions(stored bool) *expressions {
	return &expressions{plain: hookCompiler(), mode: expressionMode(stored), variables: cel.OptionalVariableDeclarations{HasAuthorizer: true}}
}

// policyExpressions are those of a policy; they may use its variables once these have been declared.
func policyExpressions(params *admissionv1.ParamKind, stored bool) *expressions {
	c, err := cel.NewCompositedCompiler(expressionEnvironment())
	if err != nil {
		panic("api: the environment of policies' expressions: " + err.Error())
	}
	return &expressions{compiler: c, plain: c, mode: expressionMode(stored), variables: cel.OptionalVariableDeclarations{HasAuthorizer: true, HasParams: params != nil}}
}

func (x *expressions) check(a cel.ExpressionAccessor, path *field.Path) field.ErrorList {
	return x.checkWith(a, x.variables, path)
}

func (x *expressions) checkWith(a cel.ExpressionAccessor, with cel.OptionalVariableDeclarations, path *field.Path) field.ErrorList {
	if strings.TrimSpace(a.GetExpression()) == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return expressionFault(x.plain.CompileCELExpression(a, with, x.mode), a.GetExpression(), path)
}

func expressionFault(r cel.CompilationResult, text string, path *field.Path) field.ErrorList {
	switch {
	case r.Error == nil:
		return nil
	case r.Error.Type == apiservercel.ErrorTypeRequired:
		return field.ErrorList{field.Required(path, r.Error.Detail)}
	case r.Error.Type == apiservercel.ErrorTypeInvalid:
		return field.ErrorList{field.Invalid(path, text, r.Error.Detail)}
	}
	return field.ErrorList{field.InternalError(path, fmt.Errorf("compiling the expression: %w", r.Error))}
}

// declare makes a policy's variables known, each to those behind it.
func (x *expressions) declare(list []admissionv1.Variable, path *field.Path) (errs field.ErrorList) {
	names := sets.New[string]()
	for i, v := range list {
		at := path.Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		case !isIdentifier(v.Name):
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "name is not a valid CEL identifier"))
		case names.Has(v.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), v.Name))
		case strings.TrimSpace(v.Expression) == "":
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
		default:
			named := &validating.Variable{Name: v.Name, Expression: v.Expression}
			errs = append(errs, expressionFault(x.compiler.CompileAndStoreVariable(named, x.variables, x.mode), v.Expression, at.Child("expression"))...)
		}
		names.Insert(v.Name)
	}
	return errs
}

var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// identifiersReserved are words of CEL, and of languages that it is translated to.
var identifiersReserved = sets.New("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
	"let", "loop", "package", "namespace", "return", "var", "void", "while")

func isIdentifier(s string) bool { return identifier.MatchString(s) && !identifiersReserved.Has(s) }

func validateMatchConditions(list []admissionv1.MatchCondition, x *expressions, path *field.Path) (errs field.ErrorList) {
	names := sets.New[string]()
	for i := range list {
		at := path.Index(i)
		errs = append(errs, x.check((*matchconditions.MatchCondition)(&list[i]), at.Child("expression"))...)
		if name := list[i].Name; name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, faults(at.Child("name"), name, validation.IsQualifiedName(name))...)
			if names.Has(name) {
				errs = append(errs, field.Duplicate(at.Child("name"), name))
			}
			names.Insert(name)
		}
	}
	if len(list) > matchConditionsMax {
		errs = append(errs, field.TooMany(path, len(list), matchConditionsMax))
	}
	return errs
}
