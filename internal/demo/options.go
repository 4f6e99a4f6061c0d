package demo

import (
	"fmt"
	"strconv"
	"strings"
)

// options are the flags of one call.
type options struct {
	set   map[string]bool
	value map[string]string
	rest  []string
}

func (o *options) has(name string) bool { return o.set[name] }

// number reads a flag's value; def if it was not given.
func (o *options) number(name string, def int) (int, error) {
	if !o.set[name] {
		return def, nil
	}
	n, err := strconv.Atoi(o.value[name])
	if err != nil {
		return 0, fmt.Errorf("option -%s: %q is not a number", name, o.value[name])
	}
	return n, nil
}

// parse reads flags in getopt's notation: "nr:" knows -n and -r VALUE. long maps --name to a short
// one; a colon behind the name is not needed, the short one decides. A flag that is not known is refused.
func parse(args []string, short string, long map[string]string) (*options, error) {
	o := &options{set: map[string]bool{}, value: map[string]string{}}
	for len(args) > 0 {
		a := args[0]
		switch {
		case a == "--":
			o.rest = append(o.rest, args[1:]...)
			return o, nil
		case strings.HasPrefix(a, "--"):
			n, err := o.long(a[2:], args[1:], short, long)
			if err != nil {
				return nil, err
			}
			args = args[1+n:]
		case len(a) > 1 && a[0] == '-':
			n, err := o.short(a[1:], args[1:], short)
			if err != nil {
				return nil, err
			}
			args = args[1+n:]
		default:
			o.rest = append(o.rest, a)
			args = args[1:]
			if strings.HasPrefix(short, "+") { // the rest belongs to another command
				o.rest = append(o.rest, args...)
				return o, nil
			}
		}
	}
	return o, nil
}

// short reads a group like -xvf; it tells how many of the following arguments it used.
func (o *options) short(group string, next []string, known string) (int, error) {
	for i, r := range group {
		name := string(r)
		at := strings.Index(known, name)
		if at < 0 || r == ':' || r == '+' {
			return 0, fmt.Errorf("unknown option -%s", name)
		}
		o.set[name] = true
		if at+1 == len(known) || known[at+1] != ':' {
			continue
		}
		if rest := group[i+len(name):]; rest != "" {
			o.value[name] = rest
			return 0, nil
		}
		if len(next) == 0 {
			return 0, fmt.Errorf("option -%s needs a value", name)
		}
		o.value[name] = next[0]
		return 1, nil
	}
	return 0, nil
}

func (o *options) long(text string, next []string, known string, long map[string]string) (int, error) {
	name, value, has := strings.Cut(text, "=")
	s, ok := long[name]
	if !ok {
		return 0, fmt.Errorf("unknown option --%s", name)
	}
	if s == "" { // known, and without effect here
		return 0, nil
	}
	o.set[s] = true
	at := strings.Index(known, s)
	switch takes := at+1 < len(known) && known[at+1] == ':'; {
	case !takes && has:
		return 0, fmt.Errorf("option --%s takes no value", name)
	case takes && has:
		o.value[s] = value
	case takes && len(next) == 0:
		return 0, fmt.Errorf("option --%s needs a value", name)
	case takes:
		o.value[s] = next[0]
		return 1, nil
	}
	return 0, nil
}
