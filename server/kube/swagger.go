package kube

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// swaggerFields are those of a document of version 2 that have an entry for each type, path or shared parameter.
var swaggerFields = [3]string{"definitions", "paths", "parameters"}

const (
	swaggerDefinitions = iota
	swaggerPaths
	swaggerParameters
)

// entries are the texts of what a field has, by name.
type entries map[string]json.RawMessage

// swagger is a document of version 2 as text, field by field.
type swagger struct {
	whole  entries // of the first document
	fields [3]entries
}

// add joins a document. What is there stays, as shared things are the same in all.
func (m *swagger) add(doc *spec.Swagger) error {
	text, err := doc.MarshalJSON()
	if err != nil {
		return err
	}
	var whole entries
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	for i, name := range swaggerFields {
		var more entries
		if raw, ok := whole[name]; ok {
			if err := json.Unmarshal(raw, &more); err != nil {
				return err
			}
		}
		if m.fields[i] == nil {
			m.fields[i] = entries{}
		}
		addMissing(m.fields[i], more)
		delete(whole, name)
	}
	if m.whole == nil {
		m.whole = whole
	}
	return nil
}

func addMissing(to, more entries) {
	for name, text := range more {
		if _, has := to[name]; !has {
			to[name] = text
		}
	}
}

// members are the entries as members of an object of JSON, in the order of their names, a comma before each but the first.
func (e entries) members() []byte {
	var b bytes.Buffer
	for i, name := range slices.Sorted(maps.Keys(e)) {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			panic(err) // a string has a form
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(e[name])
	}
	return b.Bytes()
}

// document is the whole as JSON, cut at the ends of swaggerFields, where more may be put in with a comma before it.
func (m *swagger) document() (cut [4][]byte) {
	cut[0] = append([]byte("{"), m.whole.members()...)
	for i, name := range swaggerFields {
		cut[i] = slices.Concat(cut[i], []byte(`,"`+name+`":{`), m.fields[i].members())
		cut[i+1] = []byte("}")
	}
	cut[3] = []byte("}}")
	return cut
}

// proto is the whole in protobuf. Such documents one after the other are one that has the fields of all, and of what may be there once
// that of the last.
func (m *swagger) proto() ([]byte, error) {
	cut := m.document()
	return handler.ToProtoBinary(slices.Concat(cut[:]...))
}
