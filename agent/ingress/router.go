package ingress

import (
	"cmp"
	"crypto/tls"
	"net"
	"path"
	"slices"
	"strings"
)

// routing says where requests go. It does not change once it is made.
type routing struct {
	sites        sites[*site]
	any          site // rules without a host, and the default backend
	certificates sites[[]*tls.Certificate]
	used         bool // there is an ingress to serve
}

// sites finds what belongs to a host: by its name, else by its name with a wildcard for the first label.
type sites[T any] struct{ exact, wildcard map[string]T }

func newSites[T any]() sites[T] { return sites[T]{map[string]T{}, map[string]T{}} }

// at is where what belongs to a host of a rule is kept, under the name by which it is found.
func (s *sites[T]) at(host string) (map[string]T, string) {
	host = strings.ToLower(host)
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		return s.wildcard, parent
	}
	return s.exact, host
}

// site is the rules of one host.
type site struct {
	routes   []route // in the order in which they are to be tried
	fallback *target // for paths without a rule; may be nil
}

// route leads from a path to a backend. Path has no slash at its end unless it is exact.
type route struct {
	path    string
	exact   bool
	slashed bool // its prefix was written with a slash at its end
	to      *target
}

// order puts the longest path first, of equal ones the exact one. Otherwise the order of ingresses stands, which is by age.
func (s *site) order() {
	slices.SortStableFunc(s.routes, func(a, b route) int {
		return cmp.Or(cmp.Compare(len(b.trimmed()), len(a.trimmed())), trueFirst(a.exact, b.exact), trueFirst(a.slashed, b.slashed))
	})
}

// trimmed is the path without the slash at its end, which does not make it longer.
func (r *route) trimmed() string { return strings.TrimSuffix(r.path, "/") }

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (r *route) matches(p string) bool {
	if r.exact {
		return p == r.path
	}
	rest, ok := strings.CutPrefix(p, r.path)
	return ok && (rest == "" || rest[0] == '/')
}

func (s *site) find(p string) *target {
	for i := range s.routes {
		if s.routes[i].matches(p) {
			return s.routes[i].to
		}
	}
	return nil
}

// find is where a request goes; nil is nowhere. The most particular host that has a rule for the path decides.
func (r *routing) find(host, p string) *target {
	host, p = hostName(host), cleanPath(p)
	tried := []*site{r.sites.exact[host], nil, &r.any}
	if _, parent, ok := strings.Cut(host, "."); ok {
		tried[1] = r.sites.wildcard[parent]
	}
	tried = slices.DeleteFunc(tried, func(s *site) bool { return s == nil })
	for _, s := range tried {
		if t := s.find(p); t != nil {
			return t
		}
	}
	for _, s := range tried {
		if s.fallback != nil {
			return s.fallback
		}
	}
	return nil
}

// hostName is the host of a request without its port, in the form in which rules are kept.
func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// cleanPath is what a backend takes the path for, so that no "/.." leads around a rule.
func cleanPath(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
