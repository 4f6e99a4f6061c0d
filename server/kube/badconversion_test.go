package kube_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/server/kube"
)

// answered is what a conversion webhook answers: a review that carries what is given, for the request that is asked.
func answered(w http.ResponseWriter, r *http.Request, change func(object map[string]any) any) {
	var review map[string]any
	if json.NewDecoder(r.Body).Decode(&review) != nil {
		return
	}
	request := review["request"].(map[string]any)
	out := []any{}
	for _, o := range request["objects"].([]any) {
		o := runtime.DeepCopyJSONValue(o).(map[string]any)
		o["apiVersion"] = request["desiredAPIVersion"]
		if made := change(o); made != nil {
			out = append(out, made)
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
		"response": map[string]any{"uid": request["uid"], "result": map[string]any{"status": "Success"}, "convertedObjects": out}})
}

// badConversions are what a webhook may do to a reader, and what the reader is told.
func badConversions(elsewhere string) map[string]struct {
	answer http.HandlerFunc
	says   string
} {
	meta := func(o map[string]any) map[string]any { return o["metadata"].(map[string]any) }
	lie := func(change func(map[string]any) any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { answered(w, r, change) }
	}
	return map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // after which the end of the connection is noticed
			<-r.Context().Done()
		}, "exceeded"},
		"answers garbage": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{]") }, "invalid character"},
		"breaks":          {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "ouch", 500) }, "ouch"},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, "redirect to"},
		"answers without end": {func(w http.ResponseWriter, _ *http.Request) {
			for blank := []byte(strings.Repeat(" ", 1<<20)); ; {
				if _, err := w.Write(blank); err != nil {
					return
				}
			}
		}, "longer than"},
		"answers another": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","response":{"uid":"another","result":{"status":"Success"},"convertedObjects":[{}]}}`)
		}, "expected response.uid"},
		"loses the object": {lie(func(map[string]any) any { return nil }), "returned 0 objects, expected 1"},
		"changes the name": {lie(func(o map[string]any) any { meta(o)["name"] = "other"; return o }), "must have the same name"},
		"changes the uid":  {lie(func(o map[string]any) any { meta(o)["uid"] = "other"; return o }), "must have the same UID"},
		"moves it":         {lie(func(o map[string]any) any { meta(o)["namespace"] = "other"; return o }), "must have the same namespace"},
		"changes the kind": {lie(func(o map[string]any) any { o["kind"] = "Gadget"; return o }), "invalid kind"},
		"stays behind":     {lie(func(o map[string]any) any { o["apiVersion"] = "shop.example/v1"; return o }), "invalid groupVersion"},
	}
}

// TestBadConversions: whatever a conversion webhook does, whoever asked is told so in time, what is stored stays, and who needs no
// conversion has what they asked for.
func TestBadConversions(t *testing.T) {
	t.Parallel()
	var followed atomic.Int32
	elsewhere := rawHook(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	var doing atomic.Pointer[http.HandlerFunc]
	hook := rawHook(t, func(w http.ResponseWriter, r *http.Request) { (*doing.Load())(w, r) })
	h := start(t, func(c *kube.Config) { c.Limits.Conversion = 5 * time.Second })
	conversion := convertingHook(t, nil)
	conversion.Webhook.ClientConfig.URL, conversion.Webhook.ClientConfig.CABundle = &hook.URL, hook.bundle()
	h.define(definition(t, widgets, twoVersions(conversion)))
	ctx, w := context.Background(), h.widgets()
	v2 := h.dyn.Resource(widgetsV1.GroupResource().WithVersion("v2")).Namespace("default")
	made, err := w.Create(ctx, widget("a", map[string]any{"color": "blue"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range badConversions(elsewhere.URL) {
		doing.Store(&c.answer)
		if o, err := v2.Get(ctx, "a", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: read as %v, %v, which should say %q", name, o, err, c.says)
		}
		if name == "hangs" {
			continue // once is long enough
		}
		if _, err := v2.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"size":4}}`), metav1.PatchOptions{}); err == nil {
			t.Errorf("%s: it was written all the same", name)
		}
		if o, err := w.Get(ctx, "a", metav1.GetOptions{}); err != nil || o.GetResourceVersion() != made.GetResourceVersion() {
			t.Errorf("%s: in the stored version it is now %v, %v", name, o, err)
		}
	}
	if followed.Load() != 0 {
		t.Error("a redirect was followed")
	}
	// Labels and annotations are a conversion's to lose; the rest of the metadata is not.
	forgetful := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answered(w, r, func(o map[string]any) any {
			m := o["metadata"].(map[string]any)
			delete(m, "managedFields")
			delete(m, "generation")
			return o
		})
	})
	doing.Store(&forgetful)
	if o, err := v2.Get(ctx, "a", metav1.GetOptions{}); err != nil || len(o.GetManagedFields()) == 0 || o.GetGeneration() != made.GetGeneration() {
		t.Errorf("by a webhook that forgets metadata: %v, %v", o, err)
	}
	losesFields(t, h, &doing)
}

// losesFields: nobody can tell that a conversion has lost a field. What is stored keeps it, as long as nobody writes in the version that
// lacks it.
func losesFields(t *testing.T, h *harness, doing *atomic.Pointer[http.HandlerFunc]) {
	t.Helper()
	ctx, w := context.Background(), h.widgets()
	v2 := h.dyn.Resource(widgetsV1.GroupResource().WithVersion("v2")).Namespace("default")
	loses := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answered(w, r, func(o map[string]any) any { delete(o["spec"].(map[string]any), "color"); return o })
	})
	doing.Store(&loses)
	if o, err := v2.Get(ctx, "a", metav1.GetOptions{}); err != nil || field(t, o, "spec", "color") != nil {
		t.Errorf("by a webhook that loses a field: %v, %v", o, err)
	}
	if list, err := v2.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 1 || field(t, &list.Items[0], "spec", "color") != nil {
		t.Errorf("by a webhook that loses a field: %v, %v", list, err)
	}
	if o, err := w.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"size":5}}`), metav1.PatchOptions{}); err != nil || field(t, o, "spec", "color") != "blue" {
		t.Errorf("a write in the stored version, after reads that lost a field: %v, %v", o, err)
	}
}
