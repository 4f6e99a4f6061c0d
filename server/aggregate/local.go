package aggregate

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

// Resource is that of APIServices.
var Resource = schema.GroupResource{Group: apiregistrationv1.GroupName, Resource: "apiservices"}

// managedLabel tells the APIServices that the cluster keeps from those of users, as Kubernetes has it: onstart is made when it is missing
// and then left to users, always follows what is served.
const (
	managedLabel  = "kube-aggregator.kubernetes.io/automanaged"
	managedStart  = "onstart"
	managedAlways = "true"
)

// Local is a version of a group that the cluster serves itself.
type Local struct {
	schema.GroupVersion
	GroupPriority, VersionPriority int32
	// Custom is one of custom resources, which may go again.
	Custom bool
}

// name is that of its APIService.
func (l Local) name() string { return l.Version + "." + l.Group }

func (l Local) service(now metav1.Time) *apiregistrationv1.APIService {
	s := &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: l.name(), Labels: map[string]string{managedLabel: managedStart}},
		Spec: apiregistrationv1.APIServiceSpec{Group: l.Group, Version: l.Version,
			GroupPriorityMinimum: l.GroupPriority, VersionPriority: l.VersionPriority},
	}
	if l.Custom {
		s.Labels[managedLabel] = managedAlways
	}
	setLocal(s, now)
	return s
}

// setLocal says that the cluster itself answers.
func setLocal(s *apiregistrationv1.APIService, now metav1.Time) {
	c := helper.NewLocalAvailableAPIServiceCondition()
	c.LastTransitionTime = now
	helper.SetAPIServiceCondition(s, c)
}

// Changes are what Reconcile wants done. Objects of Update are changed copies of those there are.
type Changes struct {
	Create, Update, Delete []*apiregistrationv1.APIService
}

// Reconcile compares the APIServices that there are with the versions that the cluster serves. What a user has made, or made of one of
// the cluster's own, stays as it is.
func Reconcile(want []Local, have []*apiregistrationv1.APIService, now metav1.Time) (out Changes) {
	known := map[string]*apiregistrationv1.APIService{}
	for _, s := range have {
		known[s.Name] = s
	}
	wanted := map[string]bool{}
	for _, l := range want {
		wanted[l.name()] = true
		if s, ok := known[l.name()]; !ok {
			out.Create = append(out.Create, l.service(now))
		} else if next := l.corrected(s, now); next != nil {
			out.Update = append(out.Update, next)
		}
	}
	for _, s := range have {
		switch {
		case wanted[s.Name]:
		case s.Labels[managedLabel] == managedAlways && s.DeletionTimestamp == nil:
			out.Delete = append(out.Delete, s)
		case s.Spec.Service == nil && !localNow(s):
			out.Update = append(out.Update, madeLocal(s, now))
		}
	}
	slices.SortFunc(out.Create, func(a, b *apiregistrationv1.APIService) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// corrected is what is to become of an APIService of a version that is served here; nil if it may stay.
func (l Local) corrected(s *apiregistrationv1.APIService, now metav1.Time) *apiregistrationv1.APIService {
	desired := l.service(now)
	if l.Custom && s.Labels[managedLabel] == managedAlways && (s.Spec.Service != nil || s.Spec.GroupPriorityMinimum != l.GroupPriority ||
		s.Spec.VersionPriority != l.VersionPriority) {
		next := s.DeepCopy()
		next.Spec = desired.Spec
		setLocal(next, now)
		return next
	}
	if s.Spec.Service == nil && !localNow(s) {
		return madeLocal(s, now)
	}
	return nil
}

func madeLocal(s *apiregistrationv1.APIService, now metav1.Time) *apiregistrationv1.APIService {
	next := s.DeepCopy()
	setLocal(next, now)
	return next
}

// localNow says whether the condition is that of an APIService without a service.
func localNow(s *apiregistrationv1.APIService) bool {
	c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
	return c != nil && c.Status == apiregistrationv1.ConditionTrue && c.Reason == "Local"
}
