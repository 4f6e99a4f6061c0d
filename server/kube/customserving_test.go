package kube_test

import (
	"context"
	"fmt"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// numbered makes of widgets a definition of another kind.
func numbered(i int) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(d *apiextensionsv1.CustomResourceDefinition) {
		plural := fmt.Sprintf("widgets%d", i)
		d.Name = plural + ".shop.example"
		d.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: fmt.Sprintf("Widget%d", i)}
	}
}

func numberedResource(i int) schema.GroupVersionResource {
	return widgetsV1.GroupVersion().WithResource(fmt.Sprintf("widgets%d", i))
}

func TestFewDefinitionsStayReady(t *testing.T) {
	h := start(t)
	h.server.IdleDefinitions(2)
	const n = 5
	crds := h.define(definition(t, widgets, numbered(0))).ApiextensionsV1().CustomResourceDefinitions()
	ctx := context.Background()
	watch, err := h.dyn.Resource(numberedResource(0)).Namespace("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for i := 1; i < n; i++ {
		h.define(definition(t, widgets, numbered(i)))
	}
	ready := func(want int) func() bool {
		return func() bool {
			taken, kept := h.server.ReadyDefinitions()
			return taken == want && kept == want
		}
	}
	h.eventually("the one that is watched is ready, and two more", ready(3))
	// What was forgotten is served as before, and so is what was not.
	for i := range n {
		o := widget("a", map[string]any{"size": "large"})
		o.SetKind(fmt.Sprintf("Widget%d", i))
		if _, err := h.dyn.Resource(numberedResource(i)).Namespace("default").Create(ctx, o, metav1.CreateOptions{}); err == nil {
			t.Errorf("widgets%d takes what its schema forbids", i)
		}
		o.Object["spec"] = map[string]any{}
		made, err := h.dyn.Resource(numberedResource(i)).Namespace("default").Create(ctx, o, metav1.CreateOptions{})
		if err != nil || field(t, made, "spec", "size") != int64(3) {
			t.Fatalf("widgets%d: %v, %v", i, made, err)
		}
	}
	if e := <-watch.ResultChan(); e.Type != "ADDED" {
		t.Errorf("the watch tells %v", e)
	}
	h.eventually("three are ready", ready(3))
	watch.Stop()
	h.eventually("two are ready", ready(2))
	if err := crds.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the handler keeps nothing of definitions that are gone", func() bool {
		_, kept := h.server.ReadyDefinitions()
		return kept == 0
	})
}

func TestReadyDefinitionFollowsItsSchema(t *testing.T) {
	h := start(t)
	c := h.define(definition(t, widgets))
	ctx, w := context.Background(), h.widgets()
	if _, err := w.Create(ctx, widget("a", map[string]any{"size": int64(1)}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	all := c.ApiextensionsV1().CustomResourceDefinitions()
	d, err := all.Get(ctx, "widgets.shop.example", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	size := spec.Properties["size"]
	size.Default = &apiextensionsv1.JSON{Raw: []byte("7")}
	spec.Properties["size"] = size
	if _, err := all.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	h.eventually("the new default counts", func() bool {
		n++
		made, err := w.Create(ctx, widget(fmt.Sprintf("b%d", n), map[string]any{}), metav1.CreateOptions{})
		return err == nil && field(t, made, "spec", "size") == int64(7)
	})
	if taken, kept := h.server.ReadyDefinitions(); taken != 1 || kept != 1 {
		t.Errorf("%d are taken to be ready, and %d are", taken, kept)
	}
}
