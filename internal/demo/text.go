package demo

import (
	"bufio"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const tailPoll = 200 * time.Millisecond // how often tail -f looks

// eachLine calls do with each line, without its end, until do says no. Lines may be of any length.
func eachLine(r io.Reader, do func(string) bool) error {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		s, err := b.ReadString('\n')
		if s != "" && !do(strings.TrimSuffix(s, "\n")) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// oldCount turns head -5 into head -n 5.
func oldCount(args []string) []string {
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && unicode.IsDigit(rune(args[0][1])) {
		return append([]string{"-n", args[0][1:]}, args[1:]...)
	}
	return args
}

func head(c *call) int {
	o, err := parse(oldCount(c.args), "n:c:q", map[string]string{"lines": "n", "bytes": "c"})
	if err != nil {
		return c.misuse("%v", err)
	}
	lines, err1 := o.number("n", 10)
	count, err2 := o.number("c", 0)
	if err := errors.Join(err1, err2); err != nil {
		return c.misuse("%v", err)
	}
	return c.inputs(o.rest, func(name string, r io.Reader) error {
		if len(o.rest) > 1 && !o.has("q") {
			fmt.Fprintf(c.out, "==> %s <==\n", name)
		}
		if o.has("c") {
			_, err := io.CopyN(c.out, r, int64(count))
			if err == io.EOF {
				return nil
			}
			return err
		}
		left := lines
		if left <= 0 {
			return nil
		}
		return eachLine(r, func(s string) bool {
			fmt.Fprintln(c.out, s)
			left--
			return left > 0
		})
	})
}

func tail(c *call) int {
	o, err := parse(oldCount(c.args), "n:c:fFq", map[string]string{"lines": "n", "bytes": "c", "follow": "f"})
	if err != nil {
		return c.misuse("%v", err)
	}
	from := strings.HasPrefix(o.value["n"], "+")
	lines, err1 := o.number("n", 10)
	count, err2 := o.number("c", 0)
	if err := errors.Join(err1, err2); err != nil {
		return c.misuse("%v", err)
	}
	return c.inputs(o.rest, func(name string, r io.Reader) error {
		if len(o.rest) > 1 && !o.has("q") {
			fmt.Fprintf(c.out, "==> %s <==\n", name)
		}
		var err error
		switch {
		case o.has("c"):
			err = c.lastBytes(r, count)
		case from:
			err = c.linesFrom(r, lines)
		default:
			err = c.lastLines(r, max(lines, -lines))
		}
		if err != nil || !(o.has("f") || o.has("F")) {
			return err
		}
		return c.follow(r)
	})
}

func (c *call) lastBytes(r io.Reader, n int) error {
	b, err := io.ReadAll(r)
	_, _ = c.out.Write(b[max(0, len(b)-n):]) // the flush at the end tells
	return err
}

func (c *call) linesFrom(r io.Reader, first int) error {
	n := 0
	return eachLine(r, func(s string) bool {
		if n++; n >= first {
			fmt.Fprintln(c.out, s)
		}
		return true
	})
}

func (c *call) lastLines(r io.Reader, n int) error {
	var last []string
	err := eachLine(r, func(s string) bool {
		last = append(last, s)
		if len(last) > 2*n { // trimmed now and then, not at each line
			last = slices.Clone(last[len(last)-n:])
		}
		return true
	})
	for _, s := range last[max(0, len(last)-n):] {
		fmt.Fprintln(c.out, s)
	}
	return err
}

// follow copies what is added until the process is ended.
func (c *call) follow(r io.Reader) error {
	for {
		if _, err := io.Copy(c.out, r); err != nil {
			return err
		}
		if err := c.out.Flush(); err != nil {
			return err
		}
		time.Sleep(tailPoll)
	}
}

func wc(c *call) int {
	o, err := parse(c.args, "lwcm", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	all := !o.has("l") && !o.has("w") && !o.has("c") && !o.has("m")
	var total [3]int64
	show := func(name string, n [3]int64) {
		var cols []string
		for i, f := range []bool{all || o.has("l"), all || o.has("w"), all || o.has("c") || o.has("m")} {
			if f {
				cols = append(cols, fmt.Sprint(n[i]))
			}
		}
		if name != "-" {
			cols = append(cols, name)
		}
		fmt.Fprintln(c.out, strings.Join(cols, " "))
	}
	code := c.inputs(o.rest, func(name string, r io.Reader) error {
		n, err := count(r)
		for i := range n {
			total[i] += n[i]
		}
		show(name, n)
		return err
	})
	if len(o.rest) > 1 {
		show("total", total)
	}
	return code
}

// count returns lines, words and bytes.
func count(r io.Reader) (n [3]int64, err error) {
	buf, inWord := make([]byte, 64<<10), false
	for {
		k, err := r.Read(buf)
		n[2] += int64(k)
		for _, b := range buf[:k] {
			space := b == ' ' || b >= '\t' && b <= '\r'
			if b == '\n' {
				n[0]++
			}
			if !space && !inWord {
				n[1]++
			}
			inWord = !space
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func sortLines(c *call) int {
	o, err := parse(c.args, "rnuk:t:", map[string]string{"reverse": "r", "numeric-sort": "n", "unique": "u", "key": "k"})
	if err != nil {
		return c.misuse("%v", err)
	}
	field := 0
	if o.has("k") {
		first, _, _ := strings.Cut(strings.Split(o.value["k"], ",")[0], ".")
		if field, err = strconv.Atoi(strings.TrimRight(first, "nr")); err != nil || field < 1 {
			return c.misuse("key %q is not a field number", o.value["k"])
		}
	}
	var lines []string
	code := c.inputs(o.rest, func(_ string, r io.Reader) error {
		return eachLine(r, func(s string) bool { lines = append(lines, s); return true })
	})
	key := func(s string) string {
		if field == 0 {
			return s
		}
		f := strings.Fields(s)
		if t := o.value["t"]; t != "" {
			f = strings.Split(s, t)
		}
		return strings.Join(f[min(field-1, len(f)):], " ")
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		d := strings.Compare(key(a), key(b))
		if o.has("n") {
			d = cmp.Or(cmp.Compare(leadingNumber(key(a)), leadingNumber(key(b))), strings.Compare(a, b))
		}
		if o.has("r") {
			return -d
		}
		return d
	})
	if o.has("u") {
		lines = slices.Compact(lines)
	}
	for _, l := range lines {
		fmt.Fprintln(c.out, l)
	}
	return code
}

func leadingNumber(s string) float64 {
	s = strings.TrimSpace(s)
	end := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsDigit(r) && r != '.' && r != '-' })
	if end >= 0 {
		s = s[:end]
	}
	n, _ := strconv.ParseFloat(s, 64) // what is no number counts as 0
	return n
}

func uniq(c *call) int {
	o, err := parse(c.args, "cdu", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	last, n := "", 0
	show := func() {
		if n == 0 || (o.has("d") && n == 1) || (o.has("u") && n > 1) {
			return
		}
		if o.has("c") {
			fmt.Fprintf(c.out, "%7d ", n)
		}
		fmt.Fprintln(c.out, last)
	}
	code := c.inputs(o.rest, func(_ string, r io.Reader) error {
		return eachLine(r, func(s string) bool {
			if n > 0 && s != last {
				show()
				n = 0
			}
			last, n = s, n+1
			return true
		})
	})
	show()
	return code
}

func sha256sum(c *call) int { return checksums(c, sha256.New) }
func md5sum(c *call) int    { return checksums(c, md5.New) }

func checksums(c *call, algorithm func() hash.Hash) int {
	o, err := parse(c.args, "cb", map[string]string{"check": "c"})
	if err != nil {
		return c.misuse("%v", err)
	}
	digest := func(r io.Reader) (string, error) {
		h := algorithm()
		_, err := io.Copy(h, r)
		return fmt.Sprintf("%x", h.Sum(nil)), err
	}
	if !o.has("c") {
		return c.inputs(o.rest, func(name string, r io.Reader) error {
			s, err := digest(r)
			if err == nil {
				fmt.Fprintf(c.out, "%s  %s\n", s, name)
			}
			return err
		})
	}
	bad := 0
	code := c.inputs(o.rest, func(_ string, r io.Reader) error {
		return eachLine(r, func(l string) bool {
			want, name, ok := strings.Cut(l, " ")
			name = strings.TrimLeft(name, " *")
			got := ""
			if f, err := os.Open(name); err == nil {
				got, _ = digest(f) // unreadable is not equal
				f.Close()
			}
			verdict := "OK"
			if !ok || got != want {
				verdict = "FAILED"
				bad++
			}
			fmt.Fprintf(c.out, "%s: %s\n", name, verdict)
			return true
		})
	})
	if bad > 0 {
		return 1
	}
	return code
}
