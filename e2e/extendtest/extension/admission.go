package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// note writes onto an object how often it was asked about it, whether the request was only tried, and which labels it saw last.
func note(review *admissionv1.AdmissionReview) {
	q := review.Request
	o := &unstructured.Unstructured{}
	out := &admissionv1.AdmissionResponse{UID: q.UID, Allowed: true, Warnings: []string{"noted " + q.Name}}
	if err := json.Unmarshal(q.Object.Raw, &o.Object); err != nil {
		out.Allowed, out.Result = false, &metav1.Status{Message: err.Error()}
	}
	var labels []string
	for name := range o.GetLabels() {
		labels = append(labels, name)
	}
	slices.Sort(labels)
	notes := o.GetAnnotations()["notes"] + fmt.Sprintf("%s dry=%v saw=%s;", q.Operation, *q.DryRun, strings.Join(labels, "+"))
	patch(out, "annotations", o.GetAnnotations() == nil, "notes", notes)
	review.Request, review.Response = nil, out
}

// tag gives an object a label.
func tag(review *admissionv1.AdmissionReview) {
	q := review.Request
	o := &unstructured.Unstructured{}
	out := &admissionv1.AdmissionResponse{UID: q.UID, Allowed: true}
	if err := json.Unmarshal(q.Object.Raw, &o.Object); err != nil {
		out.Allowed, out.Result = false, &metav1.Status{Message: err.Error()}
	}
	patch(out, "labels", o.GetLabels() == nil, "tagged", "yes")
	review.Request, review.Response = nil, out
}

// patch sets one entry of one of the maps of an object's metadata.
func patch(out *admissionv1.AdmissionResponse, field string, none bool, key, value string) {
	type step struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	path, set := "/metadata/"+field, any(value)
	if none {
		set = map[string]string{key: value}
	} else {
		path += "/" + key
	}
	kind := admissionv1.PatchTypeJSONPatch
	out.PatchType = &kind
	out.Patch, _ = json.Marshal([]step{{"add", path, set}}) // strings have no errors
}

// hang answers nothing until it is not asked any more.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // after which the end of the connection is noticed
	<-r.Context().Done()
}

// babble answers what is no review.
func babble(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") }
