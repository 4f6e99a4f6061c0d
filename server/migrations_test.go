package server

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
)

// boxes are a custom resource of versions v1, which is stored, and v2.
func boxes() *apiextensionsv1.CustomResourceDefinition {
	anything := &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}}
	return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "boxes.shop.example"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "shop.example", Scope: apiextensionsv1.ClusterScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "boxes", Singular: "box", Kind: "Box", ListKind: "BoxList"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: anything}, {Name: "v2", Served: true, Schema: anything}}}}
}

// TestMigrationSaysWhyItWaits: a migration that cannot be ended tells why, is tried more and more seldom, and at once when its definition
// is mended.
func TestMigrationSaysWhyItWaits(t *testing.T) {
	var asked atomic.Int32
	broken := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "out of boxes", http.StatusInternalServerError)
	}))
	defer broken.Close()
	s := newTestServer(t, "a")
	s.start()
	migrations := s.client().StoragemigrationV1().StorageVersionMigrations()
	definitions := apiextensions.NewForConfigOrDie(s.restConfig()).ApiextensionsV1().CustomResourceDefinitions()
	d, err := definitions.Create(t.Context(), boxes(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client := dynamic.NewForConfigOrDie(s.restConfig()).Resource(schema.GroupVersionResource{Group: "shop.example", Version: "v1", Resource: "boxes"})
	eventually(t, "a box is made", func() error {
		_, err := client.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "shop.example/v1", "kind": "Box",
			"metadata": map[string]any{"name": "a"}}}, metav1.CreateOptions{})
		return err
	})
	change := func(strategy *apiextensionsv1.CustomResourceConversion) {
		eventually(t, "the definition is changed", func() error {
			if d, err = definitions.Get(t.Context(), d.Name, metav1.GetOptions{}); err != nil {
				return err
			}
			d.Spec.Versions[0].Storage, d.Spec.Versions[1].Storage, d.Spec.Conversion = false, true, strategy
			_, err = definitions.Update(t.Context(), d, metav1.UpdateOptions{})
			return err
		})
	}
	change(&apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{ConversionReviewVersions: []string{"v1"},
		ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &broken.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: broken.Certificate().Raw})}}})
	m := &storagemigrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: "boxes"}, Spec: storagemigrationv1.StorageVersionMigrationSpec{
		Resource: metav1.GroupResource{Group: "shop.example", Resource: "boxes"}}}
	if _, err := migrations.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	condition := func(kind storagemigrationv1.MigrationConditionType, part string) {
		t.Helper()
		eventually(t, "the migration says "+string(kind), func() error {
			m, err := migrations.Get(t.Context(), "boxes", metav1.GetOptions{})
			if err != nil {
				return err
			}
			c := meta.FindStatusCondition(m.Status.Conditions, string(kind))
			if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, part) {
				return fmt.Errorf("%+v", m.Status)
			}
			return nil
		})
	}
	condition(storagemigrationv1.MigrationRunning, "out of boxes")
	if asked.Load() == 0 {
		t.Error("the webhook was not asked")
	}
	change(&apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter})
	condition(storagemigrationv1.MigrationSucceeded, "")
}

// TestSetbacksGrow: who fails for ever is asked a few times an hour, and never not at all.
func TestSetbacksGrow(t *testing.T) {
	m := migrator{Server: &Server{log: hclog.NewNullLogger()}}
	var last setback
	for range 100 {
		began := time.Now()
		next := m.putOff(t.Context(), &storagemigrationv1.StorageVersionMigration{}, last, errNotReady)
		if pause := next.due.Sub(began); pause < migrationsRetry || next.due.Before(last.due) || time.Until(next.due) > migrationsRetryMax {
			t.Fatalf("after %d failures %v", next.times, pause)
		}
		last = next
	}
	if time.Until(last.due) < migrationsRetryMax/2 {
		t.Errorf("in the end %v", time.Until(last.due))
	}
}
