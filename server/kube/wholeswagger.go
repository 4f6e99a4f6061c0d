package kube

import (
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
)

// swaggerBase is the document of version 2 without custom resources.
type swaggerBase struct {
	hash  string
	made  time.Time
	has   swagger // the names that it has, without texts
	json  [4]deflated
	proto *deflated // nil until somebody asks for it
}

// wholeV2 is one document of everything, which only what has changed since the last is built for.
func (o *openAPI) wholeV2(all *openAPIParts, proto bool) ([]deflated, error) {
	base, err := o.swaggerBase(all, proto)
	if err != nil {
		return nil, err
	}
	o.swagger.keep(all.custom)
	var parts []*customPart
	for _, d := range all.custom {
		more, err := o.customSwagger(all, d, proto)
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
	}
	lacking := o.swagger.lacking(&base.has)
	if proto {
		return wholeProto(base, lacking, parts)
	}
	return wholeJSON(base, lacking, parts)
}

// customSwagger gives the parts of a definition's versions that no service has instead.
func (o *openAPI) customSwagger(all *openAPIParts, d *apiextensionsv1.CustomResourceDefinition, proto bool) (out []*customPart, err error) {
	for _, v := range servedVersionsOf(d) {
		if all.others["apis/"+d.Spec.Group+"/"+v] {
			continue
		}
		p, err := o.swagger.part(d, v, proto)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func wholeJSON(base *swaggerBase, lacking *swagger, parts []*customPart) ([]deflated, error) {
	out := []deflated{base.json[0]}
	for i, field := range []int{swaggerDefinitions, swaggerPaths} {
		more, err := deflate(withComma(lacking.fields[field].members()))
		if err != nil {
			return nil, err
		}
		out = append(out, more)
		for _, p := range parts {
			out = append(out, p.json[field])
		}
		out = append(out, base.json[i+1])
	}
	more, err := deflate(withComma(lacking.fields[swaggerParameters].members()))
	if err != nil {
		return nil, err
	}
	return append(out, more, base.json[3]), nil
}

func wholeProto(base *swaggerBase, lacking *swagger, parts []*customPart) ([]deflated, error) {
	more, err := deflatedProto(lacking)
	if err != nil {
		return nil, err
	}
	out := []deflated{*more}
	for _, p := range parts {
		out = append(out, *p.proto)
	}
	return append(out, *base.proto), nil // the last says what the whole is called
}

// swaggerBase builds what is not custom if it is not there. What services say of themselves is asked again after a while.
func (o *openAPI) swaggerBase(all *openAPIParts, proto bool) (*swaggerBase, error) {
	b := o.base
	if b != nil && b.hash == all.fixed && (!proto || b.proto != nil) && (len(all.others) == 0 || time.Since(b.made) < openAPIKeep) {
		return b, nil
	}
	doc, err := o.fixedSwagger()
	if err != nil {
		return nil, err
	}
	b = &swaggerBase{hash: all.fixed, made: time.Now(), has: swagger{whole: doc.whole}}
	for i, e := range doc.fields {
		b.has.fields[i] = e.names()
	}
	for i, text := range doc.document() {
		if b.json[i], err = deflate(text); err != nil {
			return nil, err
		}
	}
	if proto {
		if b.proto, err = deflatedProto(doc); err != nil {
			return nil, err
		}
	}
	o.base = b
	return b, nil
}

// fixedSwagger is the document of the handlers and of what services serve.
func (o *openAPI) fixedSwagger() (*swagger, error) {
	m := &swagger{}
	for services, types := range o.handlers {
		cfg := server.DefaultOpenAPIConfig(types.of, apiopenapi.NewDefinitionNamer(types.scheme))
		cfg.Info.Title, cfg.Info.Version = "Kubernetes", "v"+o.server.config.Version
		doc, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), cfg)
		if err != nil {
			return nil, err
		}
		if err := m.add(doc); err != nil {
			return nil, err
		}
	}
	for _, doc := range o.server.aggregation.V2() {
		if err := m.add(doc); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// buildAhead builds what the next document of version 2 will need of custom resources, a little at a time, when definitions have not
// changed for a while. Requests that come meanwhile build what they need themselves.
func (o *openAPI) buildAhead() {
	all, err := o.current()
	if err != nil || len(all.custom) == 0 {
		return
	}
	o.lockedV2(func() error { _, err := o.swaggerBase(all, false); return err })
	for _, d := range all.custom {
		built := false
		o.lockedV2(func() error {
			if all.changes != o.changes.Load() {
				built = true // of something newer, as far as this one is concerned: it ends here
				return nil
			}
			before := o.swagger.builds
			_, err := o.customSwagger(all, d, false)
			built = o.swagger.builds > before
			return err
		})
		if built && !o.mayGoOn(all) {
			return
		}
	}
	o.lockedV2(func() error { o.swagger.keep(all.custom); return nil })
}

// mayGoOn waits between two builds. When definitions have changed the timer has been set again.
func (o *openAPI) mayGoOn(all *openAPIParts) bool {
	select {
	case <-o.server.stopped:
		return false
	case <-time.After(openAPIPace):
		return all.changes == o.changes.Load()
	}
}

func (o *openAPI) lockedV2(build func() error) {
	o.building[1].Lock()
	defer o.building[1].Unlock()
	if err := build(); err != nil {
		o.server.config.Logger.Debug("building an OpenAPI document ahead", "error", err)
	}
}
