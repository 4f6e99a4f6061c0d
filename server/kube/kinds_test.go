package kube_test

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/peapod-sh/peapod/api"
)

//go:embed testdata/kinds.yaml
var kindsYAML []byte

func kindObjects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(kindsYAML), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(o); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
}

// Each kind and version is created, read in every shape, watched, changed in every way, its status too, and deleted, as dynamic clients do it.
// Of networks it proves NW015, NW017, NW021, NW022, NW031, NW032, NW040 and NW041.
func TestEveryKindTakesEveryVerb(t *testing.T) {
	h := start(t)
	served := resources(t, h)
	met := map[schema.GroupVersionKind]bool{}
	for _, o := range kindObjects(t) {
		gvk := o.GroupVersionKind()
		met[gvk] = true
		r, ok := served[gvk]
		if !ok {
			t.Errorf("%s is not in discovery", gvk)
			continue
		}
		t.Run(gvk.GroupVersion().String()+" "+gvk.Kind, func(t *testing.T) { (&life{h: h, r: r, o: o}).lead(t) })
	}
	for _, k := range api.Kinds() {
		versions := []schema.GroupVersion{k.GroupVersion}
		for _, f := range k.Forms {
			versions = append(versions, f.GroupVersion)
		}
		for _, v := range versions {
			if gvk := v.WithKind(k.Name); !met[gvk] && !slices.Contains([]string{"Namespace", "CertificateSigningRequest"}, k.Name) { // these have tests of their own
				t.Errorf("testdata/kinds.yaml has no %s", gvk)
			}
		}
	}
}

// resources is what discovery says of every kind.
func resources(t *testing.T, h *harness) map[schema.GroupVersionKind]metav1.APIResource {
	t.Helper()
	_, lists, err := discovery.NewDiscoveryClientForConfigOrDie(h.config).ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	out := map[schema.GroupVersionKind]metav1.APIResource{}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.APIResources {
			if !strings.Contains(r.Name, "/") {
				r.Group, r.Version = gv.Group, gv.Version
				out[gv.WithKind(r.Kind)] = r
			}
		}
	}
	return out
}

// life is that of one object.
type life struct {
	h *harness
	r metav1.APIResource
	o *unstructured.Unstructured
}

func (l *life) client() dynamic.ResourceInterface {
	all := l.h.dyn.Resource(l.gvr())
	if l.r.Namespaced {
		return all.Namespace("default")
	}
	return all
}

func (l *life) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: l.r.Group, Version: l.r.Version, Resource: l.r.Name}
}

func (l *life) path() string {
	p := "/apis/" + l.r.Group + "/" + l.r.Version
	if l.r.Group == "" {
		p = "/api/v1"
	}
	if l.r.Namespaced {
		p += "/namespaces/default"
	}
	return p + "/" + l.r.Name
}

func (l *life) lead(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, name := l.client(), l.o.GetName()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	strict := metav1.CreateOptions{FieldValidation: "Strict"}
	_, err := c.Create(ctx, l.o, metav1.CreateOptions{DryRun: []string{"All"}, FieldValidation: "Strict"})
	must("create as a trial", err)
	if _, err := c.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a trial left something: %v", err)
	}
	before, err := c.List(ctx, metav1.ListOptions{})
	must("list", err)
	w, err := c.Watch(ctx, metav1.ListOptions{ResourceVersion: before.GetResourceVersion()})
	must("watch", err)
	defer w.Stop()
	made, err := c.Create(ctx, l.o, strict)
	must("create", err)
	if made.GetUID() == "" || made.GetResourceVersion() == "" || made.GetKind() != l.r.Kind || made.GetAPIVersion() != l.o.GetAPIVersion() {
		t.Errorf("made %v", made.Object["metadata"])
	}
	if _, err := c.Create(ctx, l.o, strict); !apierrors.IsAlreadyExists(err) {
		t.Errorf("created twice: %v", err)
	}
	l.read(t, ctx, name)
	must("merge patch", l.patch(ctx, types.MergePatchType, `{"metadata":{"labels":{"merge":"a"}}}`, ""))
	must("strategic patch", l.patch(ctx, types.StrategicMergePatchType, `{"metadata":{"labels":{"strategic":"a"}}}`, ""))
	must("JSON patch", l.patch(ctx, types.JSONPatchType, `[{"op":"add","path":"/metadata/labels/json","value":"a"}]`, ""))
	must("apply", l.patch(ctx, types.ApplyPatchType, fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"labels":{"apply":"a"}}}`, l.o.GetAPIVersion(), l.r.Kind, name), "tester"))
	got, err := c.Get(ctx, name, metav1.GetOptions{})
	must("get", err)
	for _, label := range []string{"merge", "strategic", "json", "apply"} {
		if got.GetLabels()[label] != "a" || len(got.GetManagedFields()) < 2 {
			t.Errorf("after four patches: %v", got.Object["metadata"])
		}
	}
	got.SetAnnotations(map[string]string{"put": "a"})
	_, err = c.Update(ctx, got, metav1.UpdateOptions{FieldValidation: "Strict"})
	must("update", err)
	if _, err := c.Update(ctx, got, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an older state: %v", err)
	}
	l.changeStatus(t, ctx)
	must("delete", c.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "merge=a,apply=a"}))
	l.watched(t, w)
}

// patch sends a patch.
func (l *life) patch(ctx context.Context, kind types.PatchType, text, manager string) error {
	_, err := l.client().Patch(ctx, l.o.GetName(), kind, []byte(text), metav1.PatchOptions{FieldManager: manager})
	return err
}

// changeStatus writes the status of kinds that have one, which leaves the rest of the object as it was.
func (l *life) changeStatus(t *testing.T, ctx context.Context) {
	t.Helper()
	k := api.KindFor(schema.GroupResource{Group: l.r.Group, Resource: l.r.Name})
	if k == nil || !k.HasStatus {
		return
	}
	c, name := l.client(), l.o.GetName()
	patched, err := c.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"annotations":{"of":"status"}}}`), metav1.PatchOptions{}, "status")
	if err != nil || patched.GetAnnotations()["of"] != "status" {
		t.Errorf("a patch of the status: %v", err)
		return
	}
	next := patched.DeepCopy()
	next.SetAnnotations(map[string]string{"of": "an update"})
	delete(next.Object, "spec")
	updated, err := c.UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if err != nil || updated.GetAnnotations()["of"] != "an update" || !reflect.DeepEqual(updated.Object["spec"], patched.Object["spec"]) {
		t.Errorf("an update of the status: %v", err)
	}
}

// read asks for the object in every shape.
func (l *life) read(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	const meta = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	for accept, want := range map[string]string{
		"application/json;as=Table;g=meta.k8s.io;v=v1": `"columnDefinitions":[{"name":`,
		meta:                                  `"kind":"PartialObjectMetadataList"`,
		"application/yaml":                    "kind: " + l.r.Kind,
		"application/vnd.kubernetes.protobuf": "k8s\x00",
	} {
		resp, b := l.h.get(l.path(), map[string]string{"Accept": accept})
		if resp.StatusCode != 200 || !strings.Contains(string(b), want) || !strings.Contains(string(b), name) {
			t.Errorf("%s: %d %.300q", accept, resp.StatusCode, b)
		}
	}
	k := api.KindFor(schema.GroupResource{Group: l.r.Group, Resource: l.r.Name})
	for sub, has := range map[string]bool{"status": k != nil && k.HasStatus, "scale": k != nil && k.Scale != nil} {
		if _, err := l.client().Get(ctx, name, metav1.GetOptions{}, sub); has && err != nil {
			t.Errorf("/%s: %v", sub, err)
		}
	}
	m := metadata.NewForConfigOrDie(l.h.config).Resource(l.gvr())
	list, err := m.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, Limit: 1})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("metadata by name: %+v, %v", list, err)
	}
	if _, err := l.client().List(ctx, metav1.ListOptions{FieldSelector: "no.such=field"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field label that is none: %v", err)
	}
}

// watched wants the whole life in the watch, in order.
func (l *life) watched(t *testing.T, w watch.Interface) {
	t.Helper()
	var seen []watch.EventType
	for e := range w.ResultChan() {
		if m, ok := e.Object.(*unstructured.Unstructured); !ok || m.GetName() != l.o.GetName() || m.GetKind() != l.r.Kind {
			continue
		}
		if seen = append(seen, e.Type); e.Type == watch.Deleted {
			break
		}
		if o := e.Object.(*unstructured.Unstructured); o.GetDeletionTimestamp() != nil && len(o.GetFinalizers()) > 0 {
			break // somebody has yet to let it go
		}
	}
	if len(seen) < 6 || seen[0] != watch.Added || slices.Contains(seen[1:], watch.Added) {
		t.Errorf("watched %v", seen)
	}
}
