package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	appearances     = 10   // definitions whose way into the documents is watched
	appearanceMost  = 2000 // milliseconds that it may take
	appearanceLimit = time.Minute
	appearancePause = 5 * time.Millisecond
)

// appearing is a document in which a new definition is to be; name is what it says of the kind.
type appearing struct{ what, path, accept, name string }

// appearingDocuments are those that clients learn about a kind of a group of its own from.
func appearingDocuments(group, kind string) []appearing {
	return []appearing{
		{"discovery", "/apis", aggregatedType, `"kind":"` + kind + `"`},
		{"OpenAPI v2", "/openapi/v2", jsonType, kind + `"`},
		{"the index of OpenAPI v3", "/openapi/v3", jsonType, "apis/" + group + "/v1"},
		{"OpenAPI v3", "/openapi/v3/apis/" + group + "/v1", jsonType, kind + `"`},
	}
}

// benchAppearance says how long after its creation was answered a definition is in the documents, of the server that took it and of
// another: the longest of several.
func benchAppearance(ctx context.Context, l *rig.Lab, leader, when string, t *table) error {
	for i, server := range []string{leader, follower(l, leader)} {
		took := map[string][]time.Duration{}
		var documents []appearing
		for n := i * appearances; n < (i+1)*appearances; n++ { // each is of a kind and a group that were never seen
			group := fmt.Sprintf("%s%d.bench.example", when, n)
			began, err := makeDefinition(ctx, l, leader, group, when, n)
			if err != nil {
				return err
			}
			documents = appearingDocuments(group, kindOf(fmt.Sprint(when, n)))
			if err := watchAppearance(ctx, l, server, documents, began, took); err != nil {
				return err
			}
		}
		of := "the server that took it"
		if server != leader {
			of = "another server"
		}
		for _, d := range documents {
			t.below(fmt.Sprintf("  %s definitions, one more: until it is in %s of %s, longest of %d", when, d.what, of, appearances), quantile(took[d.what], 1), appearanceMost, "ms")
			t.told("    the median", fmt.Sprintf("%.0f ms", quantile(took[d.what], 0.5)))
		}
	}
	return nil
}

// makeDefinition gives when its creation was answered.
func makeDefinition(ctx context.Context, l *rig.Lab, server, group, resource string, n int) (began time.Time, err error) {
	w, err := newWriter(ctx, l, server)
	if err != nil {
		return began, err
	}
	defer w.conn.Close()
	body, err := definitionBody(group, resource, n)
	if err != nil {
		return began, err
	}
	if err := w.post(definitionsPath, string(body)); err != nil {
		return began, err
	}
	return time.Now(), nil
}

// watchAppearance reads what documents do not have the definition yet, in turn, until all have it.
func watchAppearance(ctx context.Context, l *rig.Lab, server string, left []appearing, began time.Time, took map[string][]time.Duration) error {
	w, err := newWriter(ctx, l, server)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	w.encoding = "gzip"
	for ; len(left) > 0; time.Sleep(appearancePause) {
		var still []appearing
		for _, d := range left {
			there, err := w.has(d)
			switch {
			case err != nil:
				return err
			case there:
				took[d.what] = append(took[d.what], time.Since(began))
			default:
				still = append(still, d)
			}
		}
		if left = still; len(left) > 0 && time.Since(began) > appearanceLimit {
			return fmt.Errorf("after %v %s of %s has no %s", appearanceLimit, left[0].path, server, left[0].name)
		}
	}
	return nil
}

// has reads a document and looks for the definition in it; a document that is not there yet has it not.
func (w *writer) has(d appearing) (bool, error) {
	r, err := w.ask("GET", d.path, d.accept, nil)
	if err != nil {
		if strings.Contains(err.Error(), ": 404 ") {
			return false, nil
		}
		return false, err
	}
	defer r.Body.Close()
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		if in, err = gzip.NewReader(r.Body); err != nil {
			return false, err
		}
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, r.Body) // the connection is used again
	return bytes.Contains(text, []byte(d.name)), err
}
