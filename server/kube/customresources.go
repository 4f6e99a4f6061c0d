package kube

import (
	"encoding/json"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// customResourcesPath is where clients look for custom resource definitions.
const customResourcesPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

var customResources = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}

// installCustomResources answers that there are no custom resource definitions. kubectl asks for them when a
// manifest names a kind that it does not find, before it says that the kind is unknown; without an answer it
// tells the user about definitions instead of the mistake. Discovery does not name the path, so that nobody
// believes that definitions can be made.
func (s *Server) installCustomResources() {
	refuse := failing(s.generic.Serializer, func(r *http.Request) error {
		e := apierrors.NewMethodNotSupported(customResources, strings.ToLower(r.Method))
		e.ErrStatus.Message = "custom resource definitions cannot be made yet"
		return e
	})
	s.generic.Handler.NonGoRestfulMux.HandleFunc(customResourcesPath, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			refuse.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// An error means that the client has gone, which needs no answer.
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinitionList",
			"metadata": metav1.ListMeta{ResourceVersion: "0"}, "items": []any{},
		})
	})
}
