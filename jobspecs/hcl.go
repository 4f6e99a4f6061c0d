package jobspecs

import (
	"cmp"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// parseHCL reads a file of variables, locals, manifests and jobs.
func parseHCL(filename string, src []byte, vars Vars) (*Spec, error) {
	text, diags := layOut(filename, src)
	if diags.HasErrors() {
		return nil, diagnosticErrors(filename, text, diags)
	}
	parsed, diags := hclsyntax.ParseConfig(text.text, filename, hcl.InitialPos)
	if parsed == nil || diags.HasErrors() {
		return nil, diagnosticErrors(filename, text, diags)
	}
	r := &reader{}
	spec := r.file(parsed.Body, vars)
	if err := diagnosticErrors(filename, text, r.diags); err != nil {
		return nil, err
	}
	spec.Warnings = r.warnings
	return spec, nil
}

func (r *reader) file(body hcl.Body, vars Vars) *Spec {
	file := r.open("file", body, nil, hcl.Range{}, nil)
	file.scope = r.scopeFor(file, vars)
	spec := &Spec{}
	seen := map[string]bool{}
	for _, inner := range file.blocks {
		if inner.Type != "job" {
			continue
		}
		b := r.open("job", dynblock.Expand(inner.Body, file.scope), inner.Labels, inner.DefRange, file.scope)
		if seen[b.name()] {
			b.fault(b.at, "job %q stands twice in this file", b.name())
		}
		seen[b.name()] = true
		spec.Jobs = append(spec.Jobs, b.readJob())
	}
	var loose []*unstructured.Unstructured
	for _, inner := range file.blocks {
		if inner.Type == "manifest" {
			if u := r.manifest(inner, file.scope); u != nil {
				loose = append(loose, u)
			}
		}
	}
	spec.Objects = spec.adopt(loose)
	return spec
}

// owned are the kinds that a job may own; others, like a Namespace, may hold more than the job's.
var owned = []string{"ConfigMap", "Secret", "Service", "Deployment", "Job"}

// adopt gives the manifests of a file with one job to that job, if they are where the job is, and
// returns every object of the file in the order of applying.
func (s *Spec) adopt(manifests []*unstructured.Unstructured) []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	for _, u := range manifests {
		if len(s.Jobs) == 1 && slices.Contains(owned, u.GetKind()) {
			job := s.Jobs[0]
			if u.GetNamespace() == "" && job.Namespace != "" {
				u.SetNamespace(job.Namespace)
			}
			if u.GetNamespace() == job.Namespace {
				own(u, job.Name)
				job.Objects = append(job.Objects, u)
				continue
			}
		}
		all = append(all, u)
	}
	for _, job := range s.Jobs {
		inOrder(job.Objects)
		all = append(all, job.Objects...)
	}
	inOrder(all)
	return all
}

// own marks an object as the job's.
func own(u *unstructured.Unstructured, job string) {
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[JobLabel] = job
	u.SetLabels(labels)
}

// order is what should exist before what; kinds that are not listed come between these two lists.
var (
	early = []string{"Namespace", "CustomResourceDefinition", "PriorityClass", "ServiceAccount", "Secret", "ConfigMap", "PersistentVolume", "PersistentVolumeClaim", "Service"}
	late  = []string{"Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
)

func inOrder(objects []*unstructured.Unstructured) {
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Compare(rank(a.GetKind()), rank(b.GetKind()))
	})
}

func rank(kind string) int {
	if i := slices.Index(early, kind); i >= 0 {
		return i
	}
	if i := slices.Index(late, kind); i >= 0 {
		return len(early) + 1 + i
	}
	return len(early)
}
