package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	definitionsMany     = 1000
	definitionsPerGroup = 10
	customRounds        = 3   // pairs of a run with ConfigMaps and one with custom resources
	documentReads       = 300 // of each document of discovery and OpenAPI
	definitionsChanged  = 50
	aggregatedType      = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	definitionsPath     = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
)

// benchCRDs writes custom resources beside ConfigMaps of the same size, then installs a thousand definitions and says what they cost a
// server that nobody asks for them, and how fast it describes them.
func benchCRDs(ctx context.Context, l *rig.Lab, t *table) error {
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	conns, err := openWriters(ctx, l, []string{leader}, writers)
	defer closeWriters(conns)
	if err != nil {
		return err
	}
	if err := benchCustomWrites(l, conns, t); err != nil {
		return err
	}
	if *profiles != "" {
		if err := profileWrite(ctx, l, leader, conns, "custom", (*writer).createEntry); err != nil {
			return err
		}
	}
	if err := benchAppearance(ctx, l, leader, "few", t); err != nil {
		return err
	}
	if err := benchDefinitions(ctx, l, leader, t); err != nil {
		return err
	}
	return benchAppearance(ctx, l, leader, "many", t)
}

// profileWrite keeps a profile of the leader while the writers write. It is a run of its own, since profiling costs something.
func profileWrite(ctx context.Context, l *rig.Lab, leader string, conns []*writer, name string, create func(*writer, string) error) error {
	encoded, err := takeProfile(ctx, l, leader, func() error {
		_, err := writeKind(l, conns, create)
		return err
	})
	if err != nil {
		return err
	}
	return keepProfile(name, encoded)
}

func benchCustomWrites(l *rig.Lab, conns []*writer, t *table) error {
	if err := define(conns[0], "bench.example", "entries", 0); err != nil {
		return err
	}
	var maps, custom rate
	for round := range customRounds {
		one, err := writeKind(l, conns, func(w *writer, name string) error { return w.create(configMap(name)) })
		if err != nil {
			return err
		}
		other, err := writeKind(l, conns, (*writer).createEntry)
		if err != nil {
			return err
		}
		if round > 0 { // the first warms up
			maps, custom = maps.with(one), custom.with(other)
		}
	}
	n := float64(customRounds - 1)
	t.above("writes of custom resources of 1 KiB, share of those of ConfigMaps", 100*custom.perSecond/maps.perSecond, 60, "%")
	t.told("  by the servers' processor time for one", fmt.Sprintf("%.0f %%", 100*maps.cpu/custom.cpu))
	t.told("  writes a second; microseconds of the servers for one", fmt.Sprintf("%.0f, %.0f; %.0f, %.0f", custom.perSecond/n, maps.perSecond/n, custom.cpu/n, maps.cpu/n))
	return nil
}

// writeKind is one run of the writers; its cpu is that of the servers.
func writeKind(l *rig.Lab, conns []*writer, create func(*writer, string) error) (r rate, err error) {
	before, err := usages(l)
	if err != nil {
		return r, err
	}
	run := time.Now().UnixNano()
	if r.perSecond, r.p50, err = hammer(len(conns), *writing, func(w, i int) error { return create(conns[w], fmt.Sprintf("c-%d-%d-%d", run, w, i)) }); err != nil {
		return r, err
	}
	after, err := usages(l)
	if err != nil {
		return r, err
	}
	r.cpu, _ = costs(l, before, after, 0, r.perSecond*writing.Seconds())
	return r, nil
}

// createEntry is create for a custom resource.
func (w *writer) createEntry(name string) error {
	return w.post("/apis/bench.example/v1/namespaces/default/entries0", fmt.Sprintf(
		`{"apiVersion":"bench.example/v1","kind":"Entries0","metadata":{"name":%q},"spec":{"value":%q,"count":3}}`, name, strings.Repeat("x", entryBytes)))
}

func (w *writer) post(path, body string) error {
	r, err := w.ask("POST", path, jsonType, []byte(body))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

// definitionBody is a definition with a schema, a column and a rule, as operators have them. Its kind is the resource's name and number.
func definitionBody(group, resource string, n int) ([]byte, error) {
	resource = fmt.Sprintf("%s%d", resource, n)
	field := map[string]any{"type": "string", "description": "A field that is explained at some length, as fields are in the definitions that people install."}
	fields := map[string]any{"value": field, "count": map[string]any{"type": "integer", "minimum": 0, "default": 1}}
	for i := range 20 {
		fields[fmt.Sprintf("field%d", i)] = field
	}
	return json.Marshal(map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": resource + "." + group},
		"spec": map[string]any{"group": group, "scope": "Namespaced", "names": map[string]any{"plural": resource, "kind": kindOf(resource)},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"additionalPrinterColumns": []any{map[string]any{"name": "Count", "type": "integer", "jsonPath": ".spec.count"}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"spec": map[string]any{"type": "object", "properties": fields,
						"x-kubernetes-validations": []any{map[string]any{"rule": "self.count < 1000"}}},
					"status": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}}})
}

func kindOf(resource string) string { return strings.ToUpper(resource[:1]) + resource[1:] }

// define makes a definition and waits until it is served.
func define(w *writer, group, resource string, n int) error {
	body, err := definitionBody(group, resource, n)
	if err != nil {
		return err
	}
	end := time.Now().Add(time.Minute)
	for {
		// A write during which the leader changed may or may not have been made.
		err := w.post(definitionsPath, string(body))
		if err == nil || strings.Contains(err.Error(), "AlreadyExists") {
			break
		}
		if !strings.Contains(err.Error(), "Timeout") || time.Now().After(end) {
			return err
		}
		time.Sleep(time.Second)
	}
	for ; ; time.Sleep(10 * time.Millisecond) {
		if _, err = w.get(fmt.Sprintf("/apis/%s/v1/%s%d", group, resource, n), jsonType); err == nil || time.Now().After(end) {
			return err
		}
	}
}

func benchDefinitions(ctx context.Context, l *rig.Lab, leader string, t *table) error {
	before, err := settledUsages(ctx, l)
	if err != nil {
		return err
	}
	if err := defineMany(ctx, l, leader); err != nil {
		return err
	}
	after, err := settledUsages(ctx, l)
	if err != nil {
		return err
	}
	f := follower(l, leader)
	t.below("1,000 custom resource definitions: growth of the leader's RSS", after[leader].rss-before[leader].rss, 150, "MB")
	t.told("  of its RssAnon; a follower's RSS, RssAnon", fmt.Sprintf("%.0f MB; %.0f MB, %.0f MB",
		after[leader].anon-before[leader].anon, after[f].rss-before[f].rss, after[f].anon-before[f].anon))
	w, err := newWriter(ctx, l, leader) // a server ends connections that were idle for 90 s, and those of before were
	if err != nil {
		return err
	}
	defer w.conn.Close()
	w.encoding = "gzip" // as client-go asks for documents
	for _, d := range documents {
		if err := readDocument(w, t, d); err != nil {
			return err
		}
	}
	return readChanged(w, t)
}

// document is one of those that describe the API.
type document struct{ what, path, accept string }

var documents = []document{
	{"discovery of everything", "/apis", aggregatedType},
	{"discovery of a group version", "/apis/g7.bench.example/v1", jsonType},
	{"the index of OpenAPI v3", "/openapi/v3", jsonType},
	{"a group's OpenAPI v3", "/openapi/v3/apis/g7.bench.example/v1", jsonType},
	{"OpenAPI v2 of everything", "/openapi/v2", jsonType},
}

// readChanged reads each document once after each of a row of definitions that were made.
func readChanged(w *writer, t *table) error {
	took := make([][]time.Duration, len(documents))
	for i := range definitionsChanged {
		if err := define(w, "g7.bench.example", "late", i); err != nil {
			return err
		}
		for j, d := range documents {
			began := time.Now()
			if _, err := w.get(d.path, d.accept); err != nil {
				return err
			}
			took[j] = append(took[j], time.Since(began))
		}
	}
	for j, d := range documents {
		t.below("  "+d.what+" right after a definition was made, p99", quantile(took[j], 0.99), 100, "ms")
	}
	return nil
}

func defineMany(ctx context.Context, l *rig.Lab, server string) error {
	g, ctx := errgroup.WithContext(ctx)
	for part := range 4 {
		g.Go(func() error {
			w, err := newWriter(ctx, l, server)
			if err != nil {
				return err
			}
			defer w.conn.Close()
			for i := part; i < definitionsMany; i += 4 {
				if err := define(w, fmt.Sprintf("g%d.bench.example", i/definitionsPerGroup), "things", i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// readDocument reads one again and again. The first reading, for which it may have to be built, is told apart.
func readDocument(w *writer, t *table, d document) error {
	began := time.Now()
	size, err := w.get(d.path, d.accept)
	if err != nil {
		return err
	}
	first := time.Since(began)
	took := make([]time.Duration, documentReads)
	for i := range took {
		began := time.Now()
		if _, err := w.get(d.path, d.accept); err != nil {
			return err
		}
		took[i] = time.Since(began)
	}
	t.below("  "+d.what+", p99", quantile(took, 0.99), 100, "ms")
	t.told("    the first time; size", fmt.Sprintf("%.0f ms; %.1f MB", milliseconds(first), float64(size)/1e6))
	return nil
}
