package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// serveWebhooks answers, until ctx ends, what webhooks are asked.
func serveWebhooks(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/convert", answer(convert))
	mux.HandleFunc("/connect", answer(connect))
	mux.HandleFunc("/note", answer(note))
	mux.HandleFunc("/tag", answer(tag))
	mux.HandleFunc("/hang", hang)
	mux.HandleFunc("/babble", babble)
	s := &http.Server{Addr: ":9443", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.ListenAndServeTLS("/cert/tls.crt", "/cert/tls.key"); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer decodes a review and encodes what f makes of it.
func answer[R any](f func(*R)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		review := new(R)
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f(review)
		_ = json.NewEncoder(w).Encode(review) // the client may be gone
	}
}

// convert moves spec.color of version v1 to spec.paint.color of v2, and back.
func convert(review *apiextensionsv1.ConversionReview) {
	out := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	from, to := []string{"spec", "color"}, []string{"spec", "paint", "color"}
	if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v1") {
		from, to = to, from
	}
	for _, raw := range review.Request.Objects {
		o := &unstructured.Unstructured{}
		err := json.Unmarshal(raw.Raw, &o.Object)
		if err == nil && o.GetAPIVersion() != review.Request.DesiredAPIVersion {
			if color, there, _ := unstructured.NestedString(o.Object, from...); there {
				unstructured.RemoveNestedField(o.Object, from[:2]...)
				err = unstructured.SetNestedField(o.Object, color, to...)
			}
			o.SetAPIVersion(review.Request.DesiredAPIVersion)
		}
		if err != nil {
			out.Result = metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
			break
		}
		out.ConvertedObjects = append(out.ConvertedObjects, runtime.RawExtension{Object: o})
	}
	review.Request, review.Response = nil, out
}

// connect refuses to run the command "forbidden", to attach, and to forward ports.
func connect(review *admissionv1.AdmissionReview) {
	q := review.Request
	out := &admissionv1.AdmissionResponse{UID: q.UID, Allowed: true}
	var options corev1.PodExecOptions
	switch err := json.Unmarshal(q.Object.Raw, &options); {
	case err != nil:
		out.Allowed, out.Result = false, &metav1.Status{Message: err.Error()}
	case q.SubResource != "exec" || options.Command[0] == "forbidden":
		out.Allowed = false
		out.Result = &metav1.Status{Message: fmt.Sprintf("%s: %s %s/%s is not for %s", q.Operation, q.Kind.Kind, q.Name, q.SubResource, q.UserInfo.Username)}
	}
	review.Request, review.Response = nil, out
}
