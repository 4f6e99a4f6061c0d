package jobspecs

import (
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// JobLabel is on every object that a job owns; its value is the job's name.
const JobLabel = "peapod.io/job"

// Spec is what one file says.
type Spec struct {
	// Objects are all objects of the file in the order in which they should be applied: HCL's by
	// kind (what others need comes first), YAML's as they stand.
	Objects []*unstructured.Unstructured
	// Jobs are the file's job blocks in order; YAML has none.
	Jobs []*Job
	// Warnings tell what a job says that Peapod does in another way, one line each.
	Warnings []string
}

// Job is one job block with the objects that it owns, which are also among Spec.Objects.
type Job struct {
	Name string
	// Namespace is empty if the file leaves it to the caller.
	Namespace string
	// Type is service or batch.
	Type    string
	Objects []*unstructured.Unstructured
}

// Parse reads a file. Its kind is told by its name: .hcl and .nomad are HCL, anything else YAML or
// JSON. The error, if any, is an Errors with every fault of the file.
func Parse(filename string, src []byte, vars Vars) (*Spec, error) {
	if len(src) > fileBytesMax {
		return nil, Errors{{File: filename, Line: 1, Column: 1, Message: "the file is larger than 4 MiB"}}
	}
	if IsHCL(filename) {
		return parseHCL(filename, src, vars)
	}
	return parseYAML(filename, src)
}

// IsHCL tells whether a file of this name is read as HCL.
func IsHCL(filename string) bool {
	return slices.Contains([]string{".hcl", ".nomad"}, strings.ToLower(filepath.Ext(filename)))
}
