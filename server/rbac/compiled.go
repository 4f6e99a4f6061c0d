package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// compiled is the rules of one role, arranged so that a request meets only the few that may be about it.
type compiled struct {
	groups   map[string]*groupRules // by API group
	anyGroup *groupRules            // those for the wildcard; nil if there are none
	paths    []pathRule
}

// groupRules are the rules about one API group.
type groupRules struct {
	resources   map[string][]actRule // by resource as it is written: "pods", "pods/log", "*/scale"
	anyResource []actRule            // those for the wildcard
}

// actRule says what may be done with a resource: nil verbs are all verbs, nil names are all names.
type actRule struct{ verbs, names []string }

// pathRule is about a path, or about all that begin with it.
type pathRule struct {
	path   string
	prefix bool
	act    actRule
}

func compile(list []rbacv1.PolicyRule) *compiled {
	c := &compiled{groups: map[string]*groupRules{}}
	for i := range list {
		c.add(&list[i])
	}
	c.anyGroup = c.groups[all]
	return c
}

func (c *compiled) add(r *rbacv1.PolicyRule) {
	act := actRule{verbs: r.Verbs}
	if slices.Contains(r.Verbs, all) {
		act.verbs = nil
	} else if len(r.Verbs) == 0 {
		return // it allows nothing, which nil verbs would not say
	}
	for _, p := range r.NonResourceURLs {
		c.paths = append(c.paths, newPathRule(p, act))
	}
	if len(r.ResourceNames) > 0 {
		act.names = r.ResourceNames
	}
	for _, name := range r.APIGroups {
		g := c.groups[name]
		if g == nil {
			g = &groupRules{resources: map[string][]actRule{}}
			c.groups[name] = g
		}
		for _, s := range r.Resources {
			g.resources[s] = append(g.resources[s], act)
		}
		g.anyResource = g.resources[all]
	}
}

func newPathRule(path string, act actRule) pathRule {
	if !strings.HasSuffix(path, all) {
		return pathRule{path: path, act: act}
	}
	return pathRule{path: strings.TrimRight(path, all), prefix: true, act: act}
}

// allow says whether one of the rules allows a request.
func (c *compiled) allow(r *request) bool {
	if !r.ofResource {
		return c.allowPath(r)
	}
	if g := c.groups[r.group]; g != nil && g.allow(r) {
		return true
	}
	return c.anyGroup != nil && c.anyGroup.allow(r)
}

func (c *compiled) allowPath(r *request) bool {
	for i := range c.paths {
		p := &c.paths[i]
		if (r.path == p.path || p.prefix && strings.HasPrefix(r.path, p.path)) && p.act.allow(r) {
			return true
		}
	}
	return false
}

func (g *groupRules) allow(r *request) bool {
	return anyAllows(g.anyResource, r) || anyAllows(g.resources[string(r.resource)], r) ||
		r.anyResource != nil && anyAllows(g.resources[string(r.anyResource)], r)
}

func anyAllows(list []actRule, r *request) bool {
	for i := range list {
		if list[i].allow(r) {
			return true
		}
	}
	return false
}

func (a *actRule) allow(r *request) bool {
	return (a.verbs == nil || slices.Contains(a.verbs, r.verb)) && (a.names == nil || slices.Contains(a.names, r.name))
}
