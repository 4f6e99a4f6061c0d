package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/peapod-sh/peapod/api"
)

// rewriteRounds bounds how often all objects are looked at: between two rounds some may be written by a server that does not know the
// storage version yet.
const rewriteRounds = 8

// stale is an object that is stored in another version than it should be.
type stale struct {
	namespace, name string
	patch           []byte // which changes nothing but says which object is meant
}

// Rewrite brings all objects of a custom resource to the version that its definition says to store, through the API, and then takes the
// other versions out of the definition's status. found says whether there is such a definition. It may be called again after an error.
func (s *Server) Rewrite(ctx context.Context, gr schema.GroupResource) (found bool, err error) {
	clients, err := apiextensions.NewForConfig(s.self.config())
	if err != nil {
		return false, err
	}
	definitions := clients.CustomResourceDefinitions()
	d, err := definitions.Get(ctx, gr.String(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	version, err := apihelpers.GetCRDStorageVersion(d)
	if err != nil {
		return true, err
	}
	if err := s.rewriteAll(ctx, d, version); err != nil {
		return true, err
	}
	if slices.Equal(d.Status.StoredVersions, []string{version}) {
		return true, nil
	}
	d.Status.StoredVersions = []string{version} // refused if the definition has changed since it was read
	_, err = definitions.UpdateStatus(ctx, d, metav1.UpdateOptions{})
	return true, err
}

func (s *Server) rewriteAll(ctx context.Context, d *apiextensionsv1.CustomResourceDefinition, version string) error {
	client, err := dynamic.NewForConfig(s.self.config())
	if err != nil {
		return err
	}
	served := servedVersionsOf(d)
	if len(served) == 0 {
		return fmt.Errorf("%s serves no version", d.Name)
	}
	through := served[0]
	if slices.Contains(served, version) {
		through = version
	}
	all := client.Resource(schema.GroupVersionResource{Group: d.Spec.Group, Version: through, Resource: d.Spec.Names.Plural})
	for range rewriteRounds {
		if err := s.config.Store.Barrier(ctx); err != nil {
			return err
		}
		list, err := s.staleObjects(d, version)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, o := range list {
			_, err := all.Namespace(o.namespace).Patch(ctx, o.name, types.MergePatchType, o.patch, metav1.PatchOptions{FieldManager: "storage-version-migrator-controller"})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // somebody else has written or deleted it
				return fmt.Errorf("writing %s %s/%s again: %w", d.Name, o.namespace, o.name, err)
			}
		}
	}
	return fmt.Errorf("objects of %s are still being written in another version than %s", d.Name, version)
}

func (s *Server) staleObjects(d *apiextensionsv1.CustomResourceDefinition, version string) (out []stale, err error) {
	want := schema.GroupVersion{Group: d.Spec.Group, Version: version}.String()
	gr := schema.GroupResource{Group: d.Spec.Group, Resource: d.Spec.Names.Plural}
	s.config.Store.Snapshot(gr).Ascend("", "", func(namespace, name string, o runtime.Object) bool {
		doc, ok := o.(*api.Document)
		if !ok || doc.APIVersion == want {
			return true
		}
		var patch []byte
		patch, err = json.Marshal(map[string]any{"metadata": map[string]any{"uid": doc.UID, "resourceVersion": doc.ResourceVersion}})
		out = append(out, stale{namespace, name, patch})
		return err == nil
	})
	return out, err
}
