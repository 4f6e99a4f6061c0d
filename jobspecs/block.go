package jobspecs

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// fault is an error at a place.
func fault(r hcl.Range, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf(format, args...), Subject: r.Ptr()}
}

// reader collects the faults and warnings of one file.
type reader struct {
	diags    hcl.Diagnostics
	warnings []string
}

func (r *reader) fault(at hcl.Range, format string, args ...any) {
	r.diags = append(r.diags, fault(at, format, args...))
}

// block reads the words of one HCL block. Its methods give zero values for what is absent or faulty;
// faults go to the reader, so callers go on and find the next one.
type block struct {
	*reader
	kind       string
	labels     []string
	at         hcl.Range
	attributes hcl.Attributes
	blocks     []*hcl.Block
	scope      *hcl.EvalContext
}

// open finds the words of a body by the grammar of its kind, and reports the words that are not ours.
func (r *reader) open(kind string, body hcl.Body, labels []string, at hcl.Range, scope *hcl.EvalContext) *block {
	content, diags := body.Content(schema(kind))
	for _, d := range diags {
		plain(d)
	}
	r.diags = append(r.diags, diags...)
	b := &block{reader: r, kind: kind, labels: labels, at: at, scope: scope, attributes: hcl.Attributes{}}
	if content == nil {
		return b
	}
	for name, a := range content.Attributes {
		if text := instead(kind, name); text != "" {
			r.fault(a.NameRange, "%s is not possible here: %s", name, text)
			continue
		}
		b.attributes[name] = a
	}
	for _, inner := range content.Blocks {
		if text := instead(kind, inner.Type); text != "" {
			r.fault(inner.DefRange, "%s is not possible here: %s", inner.Type, text)
			continue
		}
		b.blocks = append(b.blocks, inner)
	}
	return b
}

// plain says in our words what HCL calls unsupported arguments and block types.
func plain(d *hcl.Diagnostic) {
	switch d.Summary {
	case "Unsupported argument":
		d.Summary = "unknown attribute"
	case "Unsupported block type":
		d.Summary = "unknown block"
	}
}

// name is the block's first label.
func (b *block) name() string {
	if len(b.labels) == 0 {
		return ""
	}
	return b.labels[0]
}

// each opens every nested block of a kind.
func (b *block) each(kind string) []*block {
	var out []*block
	for _, inner := range b.blocks {
		if inner.Type == kind {
			out = append(out, b.open(kind, inner.Body, inner.Labels, inner.DefRange, b.scope))
		}
	}
	return out
}

// one opens the only nested block of a kind; nil if there is none.
func (b *block) one(kind string) *block {
	all := b.each(kind)
	if len(all) == 0 {
		return nil
	}
	for _, extra := range all[1:] {
		b.fault(extra.at, "only one %s block may stand here", kind)
	}
	return all[0]
}

func (b *block) has(name string) bool { return b != nil && b.attributes[name] != nil }

// where is the place of an attribute, or of the block if it has none of that name.
func (b *block) where(name string) hcl.Range {
	if a := b.attributes[name]; a != nil {
		return a.Expr.Range()
	}
	return b.at
}

// value evaluates an attribute and converts it; ok is false if it is absent, null or faulty.
func (b *block) value(name string, want cty.Type) (v cty.Value, ok bool) {
	if b == nil || b.attributes[name] == nil {
		return cty.NilVal, false
	}
	a := b.attributes[name]
	v = b.evaluate(a.Expr, b.scope)
	if v == cty.NilVal || v.IsNull() {
		return cty.NilVal, false
	}
	converted, err := convert.Convert(v, want)
	if err != nil || !converted.IsWhollyKnown() || converted.IsNull() {
		b.fault(a.Expr.Range(), "%s must be a %s", name, want.FriendlyName())
		return cty.NilVal, false
	}
	return converted, true
}

// evaluate gives cty.NilVal, and reports why, for what has no value.
func (r *reader) evaluate(e hcl.Expression, scope *hcl.EvalContext) cty.Value {
	v, diags := e.Value(withRuntime(scope, e))
	r.diags = append(r.diags, diags...)
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return cty.NilVal
	}
	v, _ = v.UnmarkDeep()
	return v
}

// raw is a text that may hold references to what only a node knows.
func (b *block) raw(name string) string {
	v, ok := b.value(name, cty.String)
	if !ok {
		return ""
	}
	return v.AsString()
}

// text is a text that must be known now.
func (b *block) text(name string) string {
	text := b.raw(name)
	if m := runtimeReference.FindStringSubmatch(text); m != nil {
		b.fault(b.where(name), "${%s} has no value in %s: it is known only when a pod runs", m[1], name)
		return ""
	}
	return text
}

// choice is a text of a given list; the first one is the default.
func (b *block) choice(name string, allowed ...string) string {
	got := b.text(name)
	if got == "" {
		return allowed[0]
	}
	for _, a := range allowed {
		if got == a {
			return got
		}
	}
	b.fault(b.where(name), "%s must be one of %s, not %q", name, strings.Join(allowed, ", "), got)
	return allowed[0]
}

func (b *block) truth(name string) bool {
	v, ok := b.value(name, cty.Bool)
	return ok && v.True()
}

// number is a whole number between low and high; ok is false if it is absent or faulty.
func (b *block) number(name string, low, high int64) (n int64, ok bool) {
	v, ok := b.value(name, cty.Number)
	if !ok {
		return 0, false
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || n < low || n > high {
		b.fault(b.where(name), "%s must be a whole number from %d to %d", name, low, high)
		return 0, false
	}
	return n, true
}

// texts is a list of texts; a single text is a list of one.
func (b *block) texts(name string) []string {
	if b.has(name) {
		if v := b.peek(name); v != cty.NilVal && v.Type() == cty.String && !v.IsNull() && v.IsKnown() {
			return []string{b.raw(name)}
		}
	}
	v, ok := b.value(name, cty.List(cty.String))
	if !ok {
		return nil
	}
	var out []string
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if e.IsNull() {
			b.fault(b.where(name), "%s has an element that is null", name)
			continue
		}
		out = append(out, e.AsString())
	}
	return out
}

// peek evaluates without reporting.
func (b *block) peek(name string) cty.Value {
	quiet := &reader{}
	return quiet.evaluate(b.attributes[name].Expr, b.scope)
}

// pairs is a map of texts, written as an attribute or as blocks.
func (b *block) pairs(name string) map[string]string {
	out := map[string]string{}
	if v, ok := b.value(name, cty.Map(cty.String)); ok {
		for k, e := range v.AsValueMap() {
			if !e.IsNull() {
				out[k] = e.AsString()
			}
		}
	}
	for _, inner := range b.blocks {
		if inner.Type == name {
			b.pairsOf(inner, out)
		}
	}
	return out
}

func (b *block) pairsOf(inner *hcl.Block, out map[string]string) {
	all, diags := inner.Body.JustAttributes()
	b.diags = append(b.diags, diags...)
	for k, a := range all {
		v := b.evaluate(a.Expr, b.scope)
		if v == cty.NilVal || v.IsNull() {
			continue
		}
		s, err := convert.Convert(v, cty.String)
		if err != nil {
			b.fault(a.Expr.Range(), "%s must be a string", k)
			continue
		}
		out[k] = s.AsString()
	}
}

// duration reads "30s" and the like; a bare number counts nanoseconds in Nomad, which nobody means.
func (b *block) duration(name string) (d time.Duration, ok bool) {
	text := b.text(name)
	if text == "" {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		b.fault(b.where(name), "%s must be a duration like \"30s\" or \"5m\", not %q", name, text)
		return 0, false
	}
	return d, true
}

// seconds rounds a duration up to whole seconds, as Kubernetes counts.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
