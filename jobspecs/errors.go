package jobspecs

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Error is one fault of a file. Line and Column count from 1; Column counts characters.
type Error struct {
	File         string
	Line, Column int
	Message      string
	// Source is the faulty line, and Width how many of its characters are at fault; Source is empty
	// if the fault has no place in the file (a variable from the command line).
	Source string
	Width  int
}

// Error shows the fault as people read it: place and message, then the line with a marker below.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Message)
	if e.Source != "" {
		fmt.Fprintf(&b, "\n%5d | %s\n      | %s%s", e.Line, e.Source, indent(e.Source, e.Column-1), strings.Repeat("^", max(e.Width, 1)))
	}
	return b.String()
}

// indent keeps tabs, so that the marker stands right whatever a tab's width is.
func indent(line string, columns int) string {
	out := make([]rune, 0, max(columns, 0))
	for _, r := range line {
		if len(out) >= columns {
			break
		}
		if r != '\t' {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

// Errors are all faults of a file, in the order of their places.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// diagnosticErrors turns HCL's faults into ours. Their places are bytes of the laid-out text; layout
// leads back to the user's.
func diagnosticErrors(filename string, text *layout, diags hcl.Diagnostics) error {
	var out Errors
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		e := &Error{File: filename, Message: message(d)}
		if r := d.Subject; r != nil && r.Filename != "" {
			e.File = r.Filename
			if r.Filename == filename {
				place(e, text.source, text.origin(r.Start.Byte), text.origin(r.End.Byte))
			} else {
				e.Line, e.Column = r.Start.Line, r.Start.Column
			}
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil
	}
	slices.SortStableFunc(out, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(out, func(a, b *Error) bool { return *a == *b })
}

func message(d *hcl.Diagnostic) string {
	if d.Detail == "" {
		return d.Summary
	}
	if d.Summary == "" {
		return d.Detail
	}
	return d.Summary + ": " + d.Detail
}

// place fills in where the bytes from start to end of source are.
func place(e *Error, source []byte, start, end int) {
	start = min(max(start, 0), len(source))
	end = min(max(end, start), len(source))
	lineStart := bytes.LastIndexByte(source[:start], '\n') + 1
	lineEnd := len(source)
	if i := bytes.IndexByte(source[lineStart:], '\n'); i >= 0 {
		lineEnd = lineStart + i
	}
	e.Line = bytes.Count(source[:start], []byte{'\n'}) + 1
	e.Column = len([]rune(string(source[lineStart:start]))) + 1
	e.Source = strings.ToValidUTF8(strings.TrimRight(string(source[lineStart:lineEnd]), "\r"), "\uFFFD")
	e.Width = len([]rune(string(source[start:max(start, min(end, lineEnd))])))
}
