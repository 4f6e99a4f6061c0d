package demo

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

func grep(c *call) int {
	o, err := parse(c.args, "EFinvclqhHworse:m:", map[string]string{"ignore-case": "i", "invert-match": "v", "count": "c", "quiet": "q", "recursive": "r", "color": ""})
	if err != nil {
		return c.misuse("%v", err)
	}
	if !o.has("e") {
		if len(o.rest) == 0 {
			return c.misuse("want a pattern")
		}
		o.value["e"], o.rest = o.rest[0], o.rest[1:]
	}
	g := &grepper{c: c, o: o}
	if g.re, err = pattern(o); err != nil {
		return c.misuse("%v", err)
	}
	if g.limit, err = o.number("m", 0); err != nil {
		return c.misuse("%v", err)
	}
	files := o.rest
	if o.has("r") {
		files = filesBelow(files)
	}
	g.names = (len(files) > 1 || o.has("r") || o.has("H")) && !o.has("h")
	code := c.inputs(files, g.file)
	switch {
	case g.found && (code == 0 || o.has("q")):
		return 0
	case code != 0:
		return 2
	}
	return 1
}

type grepper struct {
	c     *call
	o     *options
	re    *regexp.Regexp
	names bool
	limit int
	found bool
}

// pattern compiles what grep got. Basic expressions differ from extended ones in which of ?+|(){}
// carry a backslash; Go's syntax is the extended one.
func pattern(o *options) (*regexp.Regexp, error) {
	s := o.value["e"]
	switch {
	case o.has("F"):
		s = regexp.QuoteMeta(s)
	case !o.has("E"):
		s = extended(s)
	}
	if o.has("w") {
		s = `\b(?:` + s + `)\b`
	}
	if o.has("i") {
		s = "(?i)" + s
	}
	return regexp.Compile(s)
}

func extended(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		special := func(x byte) bool { return strings.IndexByte("?+|(){}", x) >= 0 }
		switch {
		case s[i] == '\\' && i+1 < len(s) && special(s[i+1]):
			i++
			b.WriteByte(s[i])
		case s[i] == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		case special(s[i]):
			b.WriteString(`\` + s[i:i+1])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func (g *grepper) file(name string, r io.Reader) error {
	n, line := 0, 0
	err := eachLine(r, func(s string) bool {
		line++
		if g.re.MatchString(s) == g.o.has("v") {
			return true
		}
		n++
		g.found = true
		if g.o.has("q") || g.o.has("l") {
			return false
		}
		if !g.o.has("c") {
			g.show(name, line, s)
		}
		return g.limit == 0 || n < g.limit
	})
	switch {
	case g.o.has("l") && n > 0:
		fmt.Fprintln(g.c.out, name)
	case g.o.has("c") && g.names:
		fmt.Fprintf(g.c.out, "%s:%d\n", name, n)
	case g.o.has("c"):
		fmt.Fprintln(g.c.out, n)
	}
	return err
}

func (g *grepper) show(name string, line int, s string) {
	prefix := ""
	if g.names {
		prefix = name + ":"
	}
	if g.o.has("n") {
		prefix += fmt.Sprint(line, ":")
	}
	if !g.o.has("o") {
		fmt.Fprintln(g.c.out, prefix+s)
		return
	}
	for _, m := range g.re.FindAllString(s, -1) {
		fmt.Fprintln(g.c.out, prefix+m)
	}
}
