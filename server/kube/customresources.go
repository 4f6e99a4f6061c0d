package kube

import (
	"encoding/json"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// customResourcesPath is where clients look for custom resource definitions.
const customResourcesPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// installCustomResources answers that there are no custom resource definitions. kubectl asks for them when a
// manifest names a kind that it does not find, before it says that the kind is unknown; without an answer it
// tells the user about definitions instead of the mistake. Discovery does not name the path, so that nobody
// believes that definitions can be made.
func (s *Server) installCustomResources() {
	s.generic.Handler.NonGoRestfulMux.HandleFunc(customResourcesPath, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.Error(w, "custom resource definitions cannot be made yet", http.StatusMethodNotAllowed)
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
