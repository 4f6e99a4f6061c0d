package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Site asks for a web server that shows a page.
type Site struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SiteSpec   `json:"spec,omitempty"`
	Status SiteStatus `json:"status,omitempty"`
}

// SiteSpec is what is asked for.
type SiteSpec struct {
	Page     string `json:"page,omitempty"`
	Replicas int32  `json:"replicas,omitempty"`
}

// SiteStatus is what there is.
type SiteStatus struct {
	Page  string `json:"page,omitempty"`  // the last one that was acted on
	Ready int32  `json:"ready,omitempty"` // pods
	By    string `json:"by,omitempty"`    // the operator's pod that acted last
}

// SiteList is what a list of sites is answered with.
type SiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Site `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (s *Site) DeepCopyObject() runtime.Object {
	out := *s
	s.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *SiteList) DeepCopyObject() runtime.Object {
	out := *l
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]Site, len(l.Items))
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*Site)
	}
	return &out
}

// groupVersion is that of the definition in e2e/clienttest/testdata/operator.yaml.
var groupVersion = schema.GroupVersion{Group: "operators.example", Version: "v1"}

func addTypes(s *runtime.Scheme) {
	s.AddKnownTypes(groupVersion, &Site{}, &SiteList{})
	metav1.AddToGroupVersion(s, groupVersion)
}
