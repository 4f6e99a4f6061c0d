package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/utils/ptr"
)

// widgetShop is an API server that has widgets, some of them held by a finalizer.
type widgetShop struct {
	*httptest.Server
	mu   sync.Mutex
	held bool
	by   map[string]int // namespace: how many
}

func newWidgetShop(t *testing.T, by map[string]int) *widgetShop {
	s := &widgetShop{by: by}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis/shop.example/v1", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"shop.example/v1","resources":[
{"name":"widgets","singularName":"widget","namespaced":true,"kind":"Widget","verbs":["list","delete","deletecollection"]},
{"name":"walls","singularName":"wall","namespaced":false,"kind":"Wall","verbs":["list","delete","deletecollection"]},
{"name":"views","singularName":"view","namespaced":true,"kind":"View","verbs":["get","list"]}]}`)
	})
	mux.HandleFunc("GET /apis/shop.example/v1/namespaces/{ns}/widgets", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{Kind: "WidgetList", APIVersion: "shop.example/v1"}}
		for i := range s.by[r.PathValue("ns")] {
			o := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(i)}}
			if s.held {
				o.Finalizers = []string{"shop.example/hold"}
			}
			list.Items = append(list.Items, o)
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	mux.HandleFunc("DELETE /apis/shop.example/v1/namespaces/{ns}/widgets", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.held {
			delete(s.by, r.PathValue("ns"))
		}
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	})
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

// extended is a cluster that a shop of widgets is part of, by a service that is a name.
type extended struct {
	*testing.T
	*testServer
	shop *widgetShop
	apis aggregator.Interface
}

func extend(t *testing.T, shop *widgetShop, namespace string) *extended {
	s := newTestServer(t, "a")
	s.start()
	s.client() // waits until it serves
	x := &extended{t, s, shop, aggregator.NewForConfigOrDie(s.restConfig())}
	for _, name := range []string{"shop", "goes", "stays"} {
		if _, err := s.client().CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(shop.Listener.Addr().String())
	number, _ := strconv.Atoi(port)
	x.putService(namespace)
	o := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.shop.example"}, Spec: apiregistrationv1.APIServiceSpec{
		Group: "shop.example", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 100, InsecureSkipTLSVerify: true,
		Service: &apiregistrationv1.ServiceReference{Namespace: namespace, Name: "widgets", Port: ptr.To(int32(number))}}} // #nosec G115 -- a port
	if _, err := x.apis.ApiregistrationV1().APIServices().Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	x.available(apiregistrationv1.ConditionTrue)
	return x
}

func (x *extended) putService(namespace string) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "widgets"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}
	if _, err := x.client().CoreV1().Services(namespace).Create(x.Context(), s, metav1.CreateOptions{}); err != nil {
		x.Fatal(err)
	}
}

func (x *extended) available(want apiregistrationv1.ConditionStatus) {
	x.Helper()
	eventually(x.T, "the APIService is available: "+string(want), func() error {
		o, err := x.apis.ApiregistrationV1().APIServices().Get(x.Context(), "v1.shop.example", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := helper.GetAPIServiceConditionByType(o, apiregistrationv1.Available); c == nil || c.Status != want {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func (x *extended) deleteNamespace(name string) {
	if err := x.client().CoreV1().Namespaces().Delete(x.Context(), name, metav1.DeleteOptions{}); err != nil {
		x.Fatal(err)
	}
}

// says waits until conditions of a namespace that goes are as given: status and a part of the message.
func (x *extended) says(name string, want map[corev1.NamespaceConditionType]string) {
	x.Helper()
	eventually(x.T, "the namespace says what it waits for", func() error {
		n, err := x.client().CoreV1().Namespaces().Get(x.Context(), name, metav1.GetOptions{})
		if err != nil {
			x.Fatal(err) // it must not go
		}
		for _, c := range n.Status.Conditions {
			status, part, _ := strings.Cut(want[c.Type], " ")
			if status != "" && (string(c.Status) != status || !strings.Contains(c.Message, part)) {
				return fmt.Errorf("%+v", n.Status.Conditions)
			}
		}
		if len(n.Status.Conditions) < 5 {
			return fmt.Errorf("%+v", n.Status.Conditions)
		}
		return nil
	})
}

func (x *extended) gone(name string) {
	x.Helper()
	eventually(x.T, "the namespace is gone", func() error {
		n, err := x.client().CoreV1().Namespaces().Get(context.Background(), name, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("%+v, %w", n, err)
		}
		return nil
	})
}

// TestNamespaceGoesWithWhatOthersHave: a namespace stays, and says why, until an API server that the cluster leads to has been asked and
// has nothing of it; and only of it.
func TestNamespaceGoesWithWhatOthersHave(t *testing.T) {
	shop := newWidgetShop(t, map[string]int{"goes": 2, "stays": 1})
	shop.held = true
	x := extend(t, shop, "shop")
	services := x.client().CoreV1().Services("shop")
	if err := services.Delete(t.Context(), "widgets", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	x.available(apiregistrationv1.ConditionFalse)
	x.deleteNamespace("goes")
	x.says("goes", map[corev1.NamespaceConditionType]string{corev1.NamespaceDeletionDiscoveryFailure: "True shop.example/v1: stale GroupVersion discovery: shop.example/v1",
		corev1.NamespaceContentRemaining: "False ", corev1.NamespaceDeletionContentFailure: "False "})
	x.putService("shop")
	x.says("goes", map[corev1.NamespaceConditionType]string{corev1.NamespaceDeletionDiscoveryFailure: "False ",
		corev1.NamespaceContentRemaining: "True widgets.shop.example has 2 resource instances", corev1.NamespaceFinalizersRemaining: "True shop.example/hold in 2 resource instances"})
	shop.mu.Lock()
	shop.held = false
	shop.mu.Unlock()
	x.gone("goes")
	shop.mu.Lock()
	defer shop.mu.Unlock()
	if shop.by["goes"] != 0 || shop.by["stays"] != 1 {
		t.Errorf("the widgets left, by namespace: %v", shop.by)
	}
}

// TestNamespaceOfAnExtensionGoes: an API server that goes with the namespace keeps it from nothing.
func TestNamespaceOfAnExtensionGoes(t *testing.T) {
	shop := newWidgetShop(t, map[string]int{"shop": 1})
	shop.held = true // so that the service is gone before the widgets are
	x := extend(t, shop, "shop")
	x.deleteNamespace("shop")
	x.gone("shop")
}
