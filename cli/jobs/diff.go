package jobs

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// change is one field that would differ; Old or New is nil where there is none.
type change struct {
	path     string
	old, new any
}

// writeChanges shows one field a line, the values aligned.
func writeChanges(w io.Writer, list []change, p paint) {
	widest := 0
	for _, c := range list {
		widest = max(widest, len(c.path))
	}
	for _, c := range list {
		path := c.path + ":" + strings.Repeat(" ", widest-len(c.path))
		switch {
		case c.old == nil:
			fmt.Fprintf(w, "    %s %s %s\n", p.sign("+"), path, p.in(green, short(c.new)))
		case c.new == nil:
			fmt.Fprintf(w, "    %s %s %s\n", p.sign("-"), path, p.in(red, short(c.old)))
		default:
			fmt.Fprintf(w, "    %s %s %s => %s\n", p.sign("~"), path, p.in(red, short(c.old)), p.in(green, short(c.new)))
		}
	}
}

func short(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if r := []rune(string(raw)); len(r) > diffValueMax {
		return string(r[:diffValueMax]) + "…"
	}
	return string(raw)
}

// keptByServer are the fields of an object that no file sets.
var keptByServer = []string{"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"}

// stripped is an object without status and what the server keeps.
func stripped(object map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range object {
		if k != "status" {
			out[k] = v
		}
	}
	if meta, ok := out["metadata"].(map[string]any); ok {
		clean := map[string]any{}
		for k, v := range meta {
			if !slices.Contains(keptByServer, k) {
				clean[k] = v
			}
		}
		out["metadata"] = clean
	}
	return out
}

// differences compares field by field, in the order of the paths.
func differences(path string, before, after any) []change {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	if a, ok := before.(map[string]any); ok {
		if b, ok := after.(map[string]any); ok {
			return mapDifferences(path, a, b)
		}
	}
	if a, ok := before.([]any); ok {
		if b, ok := after.([]any); ok {
			return listDifferences(path, a, b)
		}
	}
	return []change{{path, before, after}}
}

func mapDifferences(path string, a, b map[string]any) []change {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var out []change
	for _, k := range keys {
		at := k
		if path != "" {
			at = path + "." + k
		}
		out = append(out, differences(at, a[k], b[k])...)
	}
	return out
}

func listDifferences(path string, a, b []any) []change {
	var out []change
	for i := range max(len(a), len(b)) {
		var x, y any
		at := fmt.Sprintf("%s[%d]", path, i)
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		out = append(out, differences(at, x, y)...)
	}
	return out
}
