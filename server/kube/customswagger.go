package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kube-openapi/pkg/handler"
)

// customSwagger has what each definition adds to the document of version 2, compressed: some 3 KB of its 30. To make it takes
// milliseconds, so that of a thousand definitions is made ahead and stays, and a definition that changes costs its own part alone.
type customSwagger struct {
	builds int // of parts, ever; of who may build

	mu     sync.Mutex
	by     map[customVersion]*customPart
	shared [3]entries // what the parts refer to but do not have, by swaggerFields; the same for all that have it
}

type customVersion struct {
	uid     types.UID
	version string
}

// customPart is what one version of a definition adds.
type customPart struct {
	hash  string // of the definition
	json  [2]deflated
	proto *deflated // nil until somebody asks for it
}

// described is all of a definition that its documents depend on.
func described(d *apiextensionsv1.CustomResourceDefinition) string {
	return fmt.Sprint(d.Name, d.UID, d.Generation, d.Status.AcceptedNames)
}

// part gives what a version adds, building it if it is not there. One caller at a time builds.
func (c *customSwagger) part(d *apiextensionsv1.CustomResourceDefinition, version string, proto bool) (*customPart, error) {
	key, hash := customVersion{d.UID, version}, described(d)
	c.mu.Lock()
	known := c.by[key]
	c.mu.Unlock()
	if known != nil && known.hash == hash && (!proto || known.proto != nil) {
		return known, nil
	}
	own, shared, err := swaggerOf(d, version)
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", d.Name, err)
	}
	p := &customPart{hash: hash}
	for i := range p.json {
		if p.json[i], err = deflate(withComma(own.fields[i].members())); err != nil {
			return nil, err
		}
	}
	if proto {
		if p.proto, err = deflatedProto(own); err != nil {
			return nil, err
		}
	}
	c.builds++
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range shared {
		if c.shared[i] == nil {
			c.shared[i] = entries{}
		}
		addMissing(c.shared[i], shared[i])
	}
	c.by[key] = p
	return p, nil
}

func withComma(members []byte) []byte {
	if len(members) == 0 {
		return nil
	}
	return append([]byte{','}, members...)
}

func deflatedProto(s *swagger) (*deflated, error) {
	b, err := s.proto()
	if err != nil {
		return nil, err
	}
	p, err := deflate(b)
	return &p, err
}

// keep forgets the parts of definitions that are gone.
func (c *customSwagger) keep(list []*apiextensionsv1.CustomResourceDefinition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	here := map[customVersion]bool{}
	for _, d := range list {
		for _, v := range servedVersionsOf(d) {
			here[customVersion{d.UID, v}] = true
		}
	}
	for key := range c.by {
		if !here[key] {
			delete(c.by, key)
		}
	}
}

// lacking is what the parts refer to and a document does not have.
func (c *customSwagger) lacking(in *swagger) *swagger {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &swagger{whole: in.whole}
	for i, more := range c.shared {
		out.fields[i] = entries{}
		for name, text := range more {
			if _, has := in.fields[i][name]; !has {
				out.fields[i][name] = text
			}
		}
	}
	return out
}

// swaggerOf takes the document of a version apart: into what is its own, and what the documents of others have, too.
func swaggerOf(d *apiextensionsv1.CustomResourceDefinition, version string) (own *swagger, shared [3]entries, err error) {
	doc, err := crdbuilder.BuildOpenAPIV2(d, version, crdbuilder.Options{V2: true, IncludeSelectableFields: true})
	if err != nil {
		return nil, shared, err
	}
	doc.Definitions = handler.PruneDefaults(doc.Definitions)
	own = &swagger{}
	if err := own.add(doc); err != nil {
		return nil, shared, err
	}
	prefix := modelPrefix(d.Spec.Group, version)
	shared[swaggerDefinitions], shared[swaggerParameters] = entries{}, own.fields[swaggerParameters]
	own.fields[swaggerParameters] = nil
	for name, text := range own.fields[swaggerDefinitions] {
		if !strings.HasPrefix(name, prefix) {
			shared[swaggerDefinitions][name] = text
			delete(own.fields[swaggerDefinitions], name)
		}
	}
	return own, shared, nil
}

// names are the entries without their texts.
func (e entries) names() entries {
	out := make(entries, len(e))
	for name := range e {
		out[name] = json.RawMessage(nil)
	}
	return out
}
