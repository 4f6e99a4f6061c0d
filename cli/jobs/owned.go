package jobs

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/jobspecs"
)

var (
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	batchJobs   = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
)

// ownedResources are the kinds that a job may own, workloads first, so that a stop ends traffic last.
var ownedResources = []schema.GroupVersionResource{
	deployments, batchJobs,
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "secrets"},
}

// ownedObject is an object of a job with the resource that it is served as.
type ownedObject struct {
	resource schema.GroupVersionResource
	*unstructured.Unstructured
}

// owned lists the objects of a job in a namespace, or with an empty name those of all jobs.
func (s *session) owned(ctx context.Context, namespace, job string) ([]ownedObject, error) {
	selector := jobspecs.JobLabel
	if job != "" {
		selector += "=" + job
	}
	var out []ownedObject
	for _, r := range ownedResources {
		list, err := s.objects.Resource(r).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if apierrors.IsNotFound(err) {
			continue // a cluster without this kind has no objects of it
		}
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", r.Resource, err)
		}
		for i := range list.Items {
			out = append(out, ownedObject{r, &list.Items[i]})
		}
	}
	return out, nil
}

// find is owned for a job that must be there.
func (s *session) find(ctx context.Context, job string) ([]ownedObject, error) {
	out, err := s.owned(ctx, s.namespace, job)
	if err == nil && len(out) == 0 {
		return nil, fmt.Errorf("no job %q in namespace %s: `peapod job status` lists the jobs", job, s.namespace)
	}
	return out, err
}

// surplus are the job's objects that its file no longer has.
func (s *session) surplus(ctx context.Context, j *jobspecs.Job) ([]ownedObject, error) {
	all, err := s.owned(ctx, s.inNamespace(j.Namespace), j.Name)
	if err != nil {
		return nil, err
	}
	kept := map[string]bool{}
	for _, u := range j.Objects {
		kept[u.GetKind()+"/"+u.GetName()] = true
	}
	var out []ownedObject
	for _, o := range all {
		if !kept[o.GetKind()+"/"+o.GetName()] {
			out = append(out, o)
		}
	}
	return out, nil
}

func (s *session) remove(ctx context.Context, o ownedObject) error {
	background := metav1.DeletePropagationBackground
	uid := o.GetUID()
	err := s.objects.Resource(o.resource).Namespace(o.GetNamespace()).Delete(ctx, o.GetName(),
		metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}
