package kube

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/kube-openapi/pkg/spec3"
)

// customParts are the group versions of custom resources. Their documents are built when they are asked for, as those of the table's
// kinds are: a thousand definitions cost nobody a thousand documents.
func customParts(list []*apiextensionsv1.CustomResourceDefinition) map[string]openAPIPart {
	by := map[string][]*apiextensionsv1.CustomResourceDefinition{}
	version := map[string]string{}
	for _, d := range list {
		for _, v := range servedVersionsOf(d) {
			path := "apis/" + d.Spec.Group + "/" + v
			by[path], version[path] = append(by[path], d), v
		}
	}
	out := make(map[string]openAPIPart, len(by))
	for path, of := range by {
		h := sha256.New()
		for _, d := range of {
			fmt.Fprintln(h, path, d.Name, d.UID, d.Generation, d.Status.AcceptedNames)
		}
		out[path] = openAPIPart{hash: hashOf(h),
			v3:     func() (*spec3.OpenAPI, error) { return customV3(of, version[path]) },
			pieces: func(was *groupText) (*groupText, error) { return was.with(of, version[path]) }}
	}
	return out
}

func customV3(list []*apiextensionsv1.CustomResourceDefinition, version string) (*spec3.OpenAPI, error) {
	all := make([]*spec3.OpenAPI, len(list))
	for i, d := range list {
		var err error
		if all[i], err = crdbuilder.BuildOpenAPIV3(d, version, crdbuilder.Options{IncludeSelectableFields: true}); err != nil {
			return nil, fmt.Errorf("describing %s: %w", d.Name, err)
		}
	}
	return crdbuilder.MergeSpecsV3(all...)
}

// groupText is what the document of version 3 of a group is made of: the texts of its paths and schemas, each compressed by itself. It
// stays as long as the document, so that the document after a change of one definition takes the time of that one, not of all in the group.
type groupText struct {
	head   deflated // all before the paths
	by     map[string]*groupEntries
	shared map[string]member // the schemas that are not of one definition, which are the same for all that have them
	parts  []deflated        // the document; nil if it cannot be made so
}

// groupEntries are a definition's.
type groupEntries struct {
	paths, schemas []member
	shares         []string // names of shared schemas
}

// member is one member of an object in JSON, or several that come one after the other: compressed together they are a third as long.
type member struct {
	first, last string // names
	text        deflated
}

// with makes the text of the definitions, of which g, which may be nil, may have some.
func (g *groupText) with(list []*apiextensionsv1.CustomResourceDefinition, version string) (*groupText, error) {
	out := &groupText{by: map[string]*groupEntries{}, shared: map[string]member{}}
	if g != nil {
		out.head, out.shared = g.head, g.shared
	}
	for _, d := range list {
		key := described(d)
		if g != nil && g.by[key] != nil {
			out.by[key] = g.by[key]
			continue
		}
		e, err := out.entriesOf(d, version)
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", d.Name, err)
		}
		out.by[key] = e
	}
	return out, out.join()
}

// entriesOf takes the document of one definition apart.
func (g *groupText) entriesOf(d *apiextensionsv1.CustomResourceDefinition, version string) (*groupEntries, error) {
	built, err := customV3([]*apiextensionsv1.CustomResourceDefinition{d}, version)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(built)
	if err != nil {
		return nil, err
	}
	var doc struct {
		OpenAPI, Info json.RawMessage
		Paths         entries
		Components    struct{ Schemas entries }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if g.head, err = deflate(slices.Concat([]byte(`{"openapi":`), doc.OpenAPI, []byte(`,"info":`), doc.Info, []byte(`,"paths":{`))); err != nil {
		return nil, err
	}
	out := &groupEntries{}
	if out.paths, err = doc.Paths.paths(); err != nil {
		return nil, err
	}
	own := modelPrefix(d.Spec.Group, version)
	for name, schema := range doc.Components.Schemas {
		known, ok := g.shared[name]
		if !ok {
			if known, err = (entries{name: schema}).member(); err != nil {
				return nil, err
			}
		}
		if strings.HasPrefix(name, own) {
			out.schemas = append(out.schemas, known)
			continue
		}
		g.shared[name] = known
		out.shares = append(out.shares, name)
	}
	return out, nil
}

// modelPrefix begins the names of a group's schemas.
func modelPrefix(group, version string) string {
	labels := strings.Split(group, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "." + version + "."
}

// join makes the document of the entries, in the order of their names as the library would write it.
func (g *groupText) join() error {
	var paths, schemas []member
	shared := map[string]member{}
	for _, e := range g.by {
		paths, schemas = append(paths, e.paths...), append(schemas, e.schemas...)
		for _, name := range e.shares {
			shared[name] = g.shared[name]
		}
	}
	schemas = slices.AppendSeq(schemas, maps.Values(shared))
	if !inOrder(paths) || !inOrder(schemas) {
		return nil
	}
	var marks [3]deflated
	for i, text := range []string{",", `},"components":{"schemas":{`, "}}}"} {
		var err error
		if marks[i], err = deflate([]byte(text)); err != nil {
			return err
		}
	}
	g.parts = append(g.parts, g.head)
	g.list(paths, marks[0])
	g.parts = append(g.parts, marks[1])
	g.list(schemas, marks[0])
	g.parts = append(g.parts, marks[2])
	return nil
}

// inOrder sorts members, and says whether each ends before the next begins: "things-a" comes between "things" and "things/{name}", and two
// definitions may have schemas of one name.
func inOrder(list []member) bool {
	slices.SortFunc(list, func(a, b member) int { return compareNames(a.first, b.first) })
	for i := 1; i < len(list); i++ {
		if list[i-1].last >= list[i].first {
			return false
		}
	}
	return true
}

func (g *groupText) list(members []member, comma deflated) {
	for i, m := range members {
		if i > 0 {
			g.parts = append(g.parts, comma)
		}
		g.parts = append(g.parts, m.text)
	}
}

// paths are a definition's: those in namespaces, and that of all namespaces.
func (e entries) paths() (out []member, err error) {
	by := map[bool]entries{false: {}, true: {}}
	for name, text := range e {
		by[strings.Contains(name, "/namespaces/{namespace}/")][name] = text
	}
	for _, some := range by {
		if len(some) > 0 {
			m, err := some.member()
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
	}
	return out, nil
}

// member is all entries, of which there must be one.
func (e entries) member() (m member, err error) {
	names := slices.Sorted(maps.Keys(e))
	m.first, m.last = names[0], names[len(names)-1]
	m.text, err = deflate(e.members())
	return m, err
}
