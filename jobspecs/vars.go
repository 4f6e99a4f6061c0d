package jobspecs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// EnvironmentPrefix marks the environment variables that set a job file's variables.
const EnvironmentPrefix = "PEAPOD_VAR_"

// Vars are the values that the caller gives to a file's variables. Later sources win: the default in
// the file, Environ, Files in order, Values in order.
type Vars struct {
	// Environ has the form of os.Environ; only PEAPOD_VAR_NAME=value counts.
	Environ []string
	// Files are HCL files of NAME = value lines.
	Files []VarFile
	// Values are NAME=value, as given to -var.
	Values []string
	// Lax lets Files and Values name variables that the file does not declare, for commands that
	// read several files with one set of values.
	Lax bool
}

// VarFile is the content of a -var-file.
type VarFile struct {
	Name   string
	Source []byte
}

// variable is one variable block.
type variable struct {
	*block
	typ      cty.Type
	defaults *typeexpr.Defaults
	value    cty.Value // NilVal until a source gives one
}

// scopeFor evaluates the file's variables and locals.
func (r *reader) scopeFor(file *block, vars Vars) *hcl.EvalContext {
	declared := map[string]*variable{}
	var order []string
	for _, b := range file.each("variable") {
		if declared[b.name()] != nil {
			r.fault(b.at, "variable %q is declared twice", b.name())
			continue
		}
		declared[b.name()] = b.readVariable()
		order = append(order, b.name())
	}
	r.assign(declared, vars)
	values := map[string]cty.Value{}
	for _, name := range order {
		values[name] = declared[name].finish()
	}
	scope := &hcl.EvalContext{Functions: functions(), Variables: map[string]cty.Value{"var": cty.ObjectVal(values), "local": cty.EmptyObjectVal}}
	for _, name := range order {
		declared[name].validate(scope)
	}
	r.evaluateLocals(file, scope)
	return scope
}

func (b *block) readVariable() *variable {
	v := &variable{block: b, typ: cty.DynamicPseudoType}
	if !hclsyntax.ValidIdentifier(b.name()) {
		b.fault(b.at, "%q is no name for a variable", b.name())
	}
	if a := b.attributes["type"]; a != nil {
		typ, defaults, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
		b.diags = append(b.diags, diags...)
		if !diags.HasErrors() {
			v.typ, v.defaults = typ, defaults
		}
	}
	if a := b.attributes["default"]; a != nil {
		if got := b.evaluate(a.Expr, &hcl.EvalContext{Functions: functions()}); got != cty.NilVal {
			v.set(got, a.Expr.Range())
		}
	}
	b.text("description")
	return v
}

// set converts a value to the variable's type.
func (v *variable) set(got cty.Value, at hcl.Range) {
	if v.defaults != nil && !got.IsNull() {
		got = v.defaults.Apply(got)
	}
	converted, err := convert.Convert(got, v.typ.WithoutOptionalAttributesDeep())
	if err != nil {
		v.fault(at, "variable %q: %s", v.name(), err)
		return
	}
	v.value = converted
}

// finish reports a variable that got no value and stands in for it, so that its users are still read.
func (v *variable) finish() cty.Value {
	if v.value != cty.NilVal {
		return v.value
	}
	if !v.diags.HasErrors() || !v.has("default") {
		v.fault(v.at, "variable %q has no value: give one with -var %s=VALUE, a -var-file, or the environment variable %s%s",
			v.name(), v.name(), EnvironmentPrefix, v.name())
	}
	return cty.DynamicVal
}

func (v *variable) validate(scope *hcl.EvalContext) {
	for _, b := range v.each("validation") {
		b.scope = scope
		condition, ok := b.value("condition", cty.Bool)
		if ok && condition.False() {
			b.fault(b.where("condition"), "variable %q: %s", v.name(), b.text("error_message"))
		}
	}
}

// assign hands the callers' values to the variables, weakest source first.
func (r *reader) assign(declared map[string]*variable, vars Vars) {
	for _, pair := range vars.Environ {
		name, text, _ := strings.Cut(pair, "=")
		if v := declared[strings.TrimPrefix(name, EnvironmentPrefix)]; v != nil && strings.HasPrefix(name, EnvironmentPrefix) {
			v.setText(text, name)
		}
	}
	for _, f := range vars.Files {
		r.assignFile(declared, f, vars.Lax)
	}
	for _, pair := range vars.Values {
		name, text, found := strings.Cut(pair, "=")
		v := declared[name]
		switch {
		case !found:
			r.fault(hcl.Range{}, "-var %s: write NAME=VALUE", pair)
		case v != nil:
			v.setText(text, "-var "+name)
		case !vars.Lax:
			r.fault(hcl.Range{}, "-var %s: this file has no variable %q%s", name, name, suggestion(name, declared))
		}
	}
}

func (r *reader) assignFile(declared map[string]*variable, f VarFile, lax bool) {
	parsed, diags := hclsyntax.ParseConfig(f.Source, f.Name, hcl.InitialPos)
	r.diags = append(r.diags, diags...)
	if parsed == nil {
		return
	}
	all, diags := parsed.Body.JustAttributes()
	r.diags = append(r.diags, diags...)
	for name, a := range all {
		v := declared[name]
		if v == nil {
			if !lax {
				r.fault(a.NameRange, "the job file has no variable %q%s", name, suggestion(name, declared))
			}
			continue
		}
		if got := r.evaluate(a.Expr, &hcl.EvalContext{Functions: functions()}); got != cty.NilVal {
			v.set(got, a.Expr.Range())
		}
	}
}

// setText reads a value from outside: as it is for a string, else as an HCL expression.
func (v *variable) setText(text, source string) {
	if v.typ == cty.String || v.typ == cty.DynamicPseudoType {
		v.set(cty.StringVal(text), hcl.Range{})
		return
	}
	e, diags := hclsyntax.ParseExpression([]byte(text), source, hcl.InitialPos)
	if !diags.HasErrors() {
		var got cty.Value
		if got, diags = e.Value(nil); !diags.HasErrors() {
			v.set(got, hcl.Range{Filename: source})
			return
		}
	}
	// A number or truth as bare text converts too.
	if _, err := convert.Convert(cty.StringVal(text), v.typ); err == nil {
		v.set(cty.StringVal(text), hcl.Range{})
		return
	}
	v.fault(hcl.Range{}, "%s: %q is no value of type %s", source, text, typeexpr.TypeString(v.typ))
}

// evaluateLocals works in rounds, so that locals may use each other in any order.
func (r *reader) evaluateLocals(file *block, scope *hcl.EvalContext) {
	pending := map[string]*hcl.Attribute{}
	for _, b := range file.blocks {
		if b.Type != "locals" {
			continue
		}
		all, diags := b.Body.JustAttributes()
		r.diags = append(r.diags, diags...)
		for name, a := range all {
			if pending[name] != nil {
				r.fault(a.NameRange, "local %q is set twice", name)
			}
			pending[name] = a
		}
	}
	done := map[string]cty.Value{}
	for progress := true; progress && len(pending) > 0; {
		progress = false
		for _, name := range sortedKeys(pending) {
			if waits(pending[name].Expr, pending) {
				continue
			}
			v := r.evaluate(pending[name].Expr, scope)
			if v == cty.NilVal {
				v = cty.DynamicVal
			}
			done[name] = v
			scope.Variables["local"] = cty.ObjectVal(done)
			delete(pending, name)
			progress = true
		}
	}
	for _, name := range sortedKeys(pending) {
		r.fault(pending[name].NameRange, "local %q depends on itself", name)
	}
}

// waits tells whether an expression uses a local that has no value yet.
func waits(e hcl.Expression, pending map[string]*hcl.Attribute) bool {
	for _, t := range e.Variables() {
		if t.RootName() != "local" || len(t) < 2 {
			continue
		}
		if step, ok := t[1].(hcl.TraverseAttr); ok && pending[step.Name] != nil {
			return true
		}
	}
	return false
}

// suggestion is `; did you mean "x"?` if a known name is near.
func suggestion[V any](name string, known map[string]V) string {
	for _, k := range sortedKeys(known) {
		if levenshtein.Distance(name, k, nil) < 3 {
			return fmt.Sprintf("; did you mean %q?", k)
		}
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
