package api

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Scheme knows every type of k8s.io/api; kinds of the table are in it as internal version too.
var Scheme = newScheme()

// Codecs and ParameterCodec encode and decode over Scheme.
var (
	Codecs         = serializer.NewCodecFactory(Scheme)
	ParameterCodec = runtime.NewParameterCodec(Scheme)
)

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientscheme.AddToScheme(s))
	utilruntime.Must(metricsv1beta1.AddToScheme(s))
	utilruntime.Must(apiregistrationv1.AddToScheme(s))
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	s.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	return s
}

// addToScheme registers the kind as its own internal version, its defaulting and its field labels.
func addToScheme(k *Kind) {
	internal := schema.GroupVersion{Group: k.GroupVersion.Group, Version: runtime.APIVersionInternal}
	Scheme.AddKnownTypes(internal, k.New(), k.NewList())
	if k.Default != nil {
		Scheme.AddTypeDefaultingFunc(k.New(), func(o any) { k.Default(o.(runtime.Object)) })
	}
	addFieldLabels(k.GroupVersionKind(), k.FieldLabels, nil)
	for i := range k.Forms {
		addForm(k, &k.Forms[i])
	}
}

// addFieldLabels says by which fields objects can be selected; renamed gives the labels that are called otherwise in the hub.
func addFieldLabels(gvk schema.GroupVersionKind, more []string, renamed map[string]string) {
	labels := append([]string{"metadata.name", "metadata.namespace"}, more...)
	utilruntime.Must(Scheme.AddFieldLabelConversionFunc(gvk, func(label, value string) (string, string, error) {
		if !slices.Contains(labels, label) {
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}
		if hub, ok := renamed[label]; ok {
			label = hub
		}
		return label, value, nil
	}))
}
