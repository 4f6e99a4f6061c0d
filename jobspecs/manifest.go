package jobspecs

import (
	"math/big"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// metadataWords are the attributes of a manifest block that belong into the object's metadata.
var metadataWords = []string{"namespace", "labels", "annotations"}

// manifest reads an object of any kind: every attribute is a field of the object.
func (r *reader) manifest(b *hcl.Block, scope *hcl.EvalContext) *unstructured.Unstructured {
	before := len(r.diags)
	for i, label := range []string{"apiVersion", "kind", "name"} {
		if b.Labels[i] == "" {
			r.fault(b.LabelRanges[i], "the %s of a manifest can't be empty", label)
		}
	}
	body, ok := b.Body.(*hclsyntax.Body)
	if !ok {
		r.fault(b.DefRange, "a manifest has no dynamic blocks; write a list with a for expression")
		return nil
	}
	content := r.fields(body, scope)
	for _, reserved := range []string{"apiVersion", "kind"} {
		if a := body.Attributes[reserved]; a != nil {
			r.fault(a.NameRange, "%s is a label of the manifest block", reserved)
		}
	}
	r.metadata(content, b, body)
	if len(r.diags) > before {
		return nil
	}
	content["apiVersion"], content["kind"] = b.Labels[0], b.Labels[1]
	return &unstructured.Unstructured{Object: content}
}

// metadata collects what belongs there: a metadata attribute or block, the words for it, the name.
func (r *reader) metadata(content map[string]any, b *hcl.Block, body *hclsyntax.Body) {
	meta := map[string]any{}
	if given, exists := content["metadata"]; exists {
		var ok bool
		if meta, ok = given.(map[string]any); !ok {
			r.fault(b.DefRange, "metadata must be a map")
			return
		}
	}
	meta["name"] = b.Labels[2]
	for _, word := range metadataWords {
		v, exists := content[word]
		if !exists {
			continue
		}
		delete(content, word)
		if _, isText := v.(string); isText == (word == "namespace") && wordFits(v) {
			meta[word] = v
			continue
		}
		at := b.DefRange
		if a := body.Attributes[word]; a != nil {
			at = a.Expr.Range()
		}
		r.fault(at, "%s must be a %s", word, map[bool]string{true: "text", false: "map of texts"}[word == "namespace"])
	}
	content["metadata"] = meta
}

// wordFits tells whether a metadata word's value is a text, or a map of texts.
func wordFits(v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		_, ok = v.(string)
		return ok
	}
	for _, e := range m {
		if _, ok := e.(string); !ok {
			return false
		}
	}
	return true
}

// fields reads attributes and nested blocks. A block that stands once is a map, one that stands
// several times a list of maps.
func (r *reader) fields(body *hclsyntax.Body, scope *hcl.EvalContext) map[string]any {
	out := map[string]any{}
	for _, name := range sortedKeys(body.Attributes) {
		v, diags := body.Attributes[name].Expr.Value(scope)
		r.diags = append(r.diags, diags...)
		if diags.HasErrors() || !v.IsWhollyKnown() {
			continue
		}
		v, _ = v.UnmarkDeep()
		if !v.IsNull() {
			out[name] = r.plainValue(v, body.Attributes[name].Expr.Range())
		}
	}
	blocks := map[string][]any{}
	for _, b := range body.Blocks {
		if len(b.Labels) > 0 {
			r.fault(b.LabelRanges[0], "blocks of a manifest have no labels; write %s = { ... }", b.Type)
			continue
		}
		blocks[b.Type] = append(blocks[b.Type], r.fields(b.Body, scope))
	}
	for _, name := range sortedKeys(blocks) {
		if out[name] = any(blocks[name]); len(blocks[name]) == 1 {
			out[name] = blocks[name][0]
		}
	}
	return out
}

// plainValue is the value as JSON would have it: whole numbers are int64, as unstructured objects want.
func (r *reader) plainValue(v cty.Value, at hcl.Range) any {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		return r.plainNumber(v.AsBigFloat(), at)
	case t.IsObjectType() || t.IsMapType():
		out := map[string]any{}
		for k, e := range v.AsValueMap() {
			out[k] = r.plainValue(e, at)
		}
		return out
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		out := []any{}
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			out = append(out, r.plainValue(e, at))
		}
		return out
	}
	r.fault(at, "a value of type %s can't be a field", t.FriendlyName())
	return nil
}

func (r *reader) plainNumber(f *big.Float, at hcl.Range) any {
	if n, accuracy := f.Int64(); accuracy == big.Exact {
		return n
	}
	n, _ := f.Float64()
	if f.IsInf() || n > 1e300 || n < -1e300 {
		r.fault(at, "this number is too large")
		return int64(0)
	}
	return n
}
