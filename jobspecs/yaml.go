package jobspecs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kyaml "sigs.k8s.io/yaml"
)

// parseYAML reads a stream of YAML documents, of which JSON is a special case.
func parseYAML(filename string, src []byte) (*Spec, error) {
	spec := &Spec{}
	var errs Errors
	for _, d := range documents(src) {
		objects, err := d.objects()
		var e *Error
		if errors.As(err, &e) {
			e.File = filename
			errs = append(errs, e)
		}
		spec.Objects = append(spec.Objects, objects...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return spec, nil
}

// document is one YAML document and the lines before it in the file.
type document struct {
	text        []byte
	linesBefore int
}

// documents cuts a stream at its "---" lines; go.yaml.in's own decoder stops at the first fault.
func documents(src []byte) []document {
	var out []document
	line, start, startLine := 0, 0, 0
	for at := 0; at < len(src); line++ {
		end := len(src)
		if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if text := bytes.TrimRight(src[at:end], " \t\r\n"); bytes.Equal(text, []byte("---")) || bytes.HasPrefix(text, []byte("--- #")) {
			out = append(out, document{src[start:at], startLine})
			start, startLine = end, line+1
		}
		at = end
	}
	return append(out, document{src[start:], startLine})
}

// objects reads a document; an empty one has none, a List has its items.
func (d document) objects() ([]*unstructured.Unstructured, error) {
	var node yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(d.text)).Decode(&node); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, d.syntaxError(err)
	}
	if isNull(&node) {
		return nil, nil
	}
	var content map[string]any
	if err := kyaml.UnmarshalStrict(d.text, &content); err != nil {
		return nil, d.syntaxError(err)
	}
	// A null, "items: ~", means an empty list to clients and servers alike.
	if list, ok := content["items"].([]any); ok && strings.HasSuffix(fmt.Sprint(content["kind"]), "List") {
		return d.listItems(&node, list)
	}
	u := &unstructured.Unstructured{Object: content}
	if err := d.identify(&node, u); err != nil {
		return nil, err
	}
	return []*unstructured.Unstructured{u}, nil
}

func (d document) listItems(node *yaml.Node, list []any) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, 0, len(list))
	for i, item := range list {
		content, ok := item.(map[string]any)
		if !ok {
			return nil, d.at(node, "items[%d] is not an object", i)
		}
		u := &unstructured.Unstructured{Object: content}
		if err := d.identify(node, u); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// identify refuses what has no kind and name; everything else is the server's to judge.
func (d document) identify(node *yaml.Node, u *unstructured.Unstructured) error {
	for _, key := range []string{"apiVersion", "kind"} {
		if s, ok := u.Object[key].(string); !ok || s == "" {
			return d.at(node, "this object has no %s", key)
		}
	}
	if _, isMap := u.Object["metadata"].(map[string]any); !isMap {
		return d.at(node, "this %s has no metadata", u.GetKind())
	}
	if u.GetName() == "" && u.GetGenerateName() == "" {
		return d.at(node, "this %s has no metadata.name", u.GetKind())
	}
	return nil
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.DocumentNode && (len(n.Content) == 0 || n.Content[0].Tag == "!!null")
}

// at is a fault of the whole document, shown at its first line.
func (d document) at(node *yaml.Node, format string, args ...any) error {
	line, column := 1, 1
	if len(node.Content) > 0 {
		line, column = node.Content[0].Line, node.Content[0].Column
	}
	return d.fault(line, column, fmt.Sprintf(format, args...))
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

func (d document) syntaxError(err error) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")
	line := 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // the pattern matched digits; a number too large shows no line
		text = strings.Replace(text, m[0], "", 1)
	}
	return d.fault(line, 1, strings.Join(strings.Fields(text), " "))
}

func (d document) fault(line, column int, text string) error {
	e := &Error{Line: d.linesBefore + line, Column: column, Message: text}
	lines := strings.Split(string(d.text), "\n")
	if line >= 1 && line <= len(lines) {
		source := strings.TrimRight(lines[line-1], "\r")
		e.Source = strings.ToValidUTF8(source, "\uFFFD")
		e.Width = max(len([]rune(strings.TrimSpace(e.Source))), 1)
		if column == 1 {
			e.Column += len([]rune(e.Source)) - len([]rune(strings.TrimLeft(e.Source, " \t")))
		}
	}
	return e
}
