package demo

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ranges reads 1,3-5,7- ; it tells whether a number is in it.
func ranges(s string) (func(int) bool, error) {
	type span struct{ from, to int }
	var all []span
	for part := range strings.SplitSeq(s, ",") {
		a, b, dash := strings.Cut(part, "-")
		from, err1 := strconv.Atoi(cmp.Or(a, "1"))
		to := from
		var err2 error
		if dash {
			to, err2 = strconv.Atoi(cmp.Or(b, "1000000000"))
		}
		if err1 != nil || err2 != nil || from < 1 || part == "-" || part == "" {
			return nil, fmt.Errorf("invalid list %q", s)
		}
		all = append(all, span{from, to})
	}
	return func(n int) bool {
		return slices.ContainsFunc(all, func(s span) bool { return s.from <= n && n <= s.to })
	}, nil
}

func cut(c *call) int {
	o, err := parse(c.args, "d:f:c:b:s", map[string]string{"delimiter": "d", "fields": "f"})
	if err != nil {
		return c.misuse("%v", err)
	}
	in, err := ranges(cmp.Or(o.value["f"], o.value["c"], o.value["b"]))
	if err != nil {
		return c.misuse("want -f, -c or -b with a list: %v", err)
	}
	d := cmp.Or(o.value["d"], "\t")
	return c.inputs(o.rest, func(_ string, r io.Reader) error {
		return eachLine(r, func(s string) bool {
			parts, sep := strings.Split(s, ""), ""
			if o.has("f") {
				if !strings.Contains(s, d) {
					if !o.has("s") {
						fmt.Fprintln(c.out, s)
					}
					return true
				}
				parts, sep = strings.Split(s, d), d
			}
			var kept []string
			for i, p := range parts {
				if in(i + 1) {
					kept = append(kept, p)
				}
			}
			fmt.Fprintln(c.out, strings.Join(kept, sep))
			return true
		})
	})
}

func tr(c *call) int {
	o, err := parse(c.args, "dsc", nil)
	if err != nil || len(o.rest) == 0 || (len(o.rest) == 1 && !o.has("d") && !o.has("s")) {
		return c.misuse("want SET1 [SET2] %v", orNone(err))
	}
	from, to := characters(o.rest[0]), []rune(nil)
	if len(o.rest) > 1 {
		to = characters(o.rest[1])
	}
	in := bufio.NewReader(c.in)
	last := rune(-1)
	for {
		r, _, err := in.ReadRune()
		if err == io.EOF {
			return 0
		}
		if err != nil {
			return c.fail(err)
		}
		at := slices.Index(from, r)
		hit := (at >= 0) != o.has("c")
		if hit && o.has("d") {
			continue
		}
		if hit && len(to) > 0 {
			if o.has("c") || at >= len(to) {
				at = len(to) - 1
			}
			r = to[at]
		}
		if hit && o.has("s") && r == last {
			continue
		}
		last = r
		_, _ = c.out.WriteRune(r) // the flush at the end tells
	}
}

// characters expands a-z, [:upper:] and backslashes of tr's sets.
func characters(s string) []rune {
	for name, set := range map[string]string{"[:upper:]": "A-Z", "[:lower:]": "a-z", "[:digit:]": "0-9", "[:alpha:]": "A-Za-z", "[:alnum:]": "A-Za-z0-9", "[:space:]": " \t\n\v\f\r"} {
		s = strings.ReplaceAll(s, name, set)
	}
	s = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r", `\0`, "\x00", `\\`, `\`).Replace(s)
	in := []rune(s)
	var out []rune
	for i := 0; i < len(in); i++ {
		if i+2 < len(in) && in[i+1] == '-' && in[i+2] >= in[i] {
			for r := in[i]; r <= in[i+2]; r++ {
				out = append(out, r)
			}
			i += 2
			continue
		}
		out = append(out, in[i])
	}
	return out
}
