package jobspecs

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	corev1 "k8s.io/api/core/v1"
)

// What only the node knows, ${node.unique.name} or ${NOMAD_ALLOC_ID}, has no value yet when a file is
// read. It evaluates to its own text, marked so that no text of the user's can be mistaken for it, and
// is replaced where the text ends up: by $(NAME) of an environment variable in a container, by a
// node's label in a constraint.

// runtimeOpen and runtimeClose enclose the name in the evaluated text; no file may contain them.
const (
	runtimeOpen  = "\uE000{"
	runtimeClose = "}\uE000"
)

var runtimeReference = regexp.MustCompile(runtimeOpen[:3] + `\{([^}]*)\}` + runtimeOpen[:3])

func isRuntimeRoot(name string) bool {
	return slices.Contains([]string{"node", "attr", "meta", "env"}, name) || strings.HasPrefix(name, "NOMAD_")
}

// withRuntime adds to a scope the references of an expression that only a node can resolve.
func withRuntime(scope *hcl.EvalContext, e hcl.Expression) *hcl.EvalContext {
	tree := map[string]any{}
	for _, t := range e.Variables() {
		if isRuntimeRoot(t.RootName()) && !defined(scope, t.RootName()) {
			plant(tree, steps(t))
		}
	}
	if len(tree) == 0 {
		return scope
	}
	if scope == nil {
		scope = &hcl.EvalContext{}
	}
	child := scope.NewChild()
	child.Variables = map[string]cty.Value{}
	for root, branch := range tree {
		child.Variables[root] = grow(root, branch)
	}
	return child
}

// defined tells whether an outer scope has a variable, such as the iterator of a dynamic block.
func defined(scope *hcl.EvalContext, name string) bool {
	for ; scope != nil; scope = scope.Parent() {
		if _, ok := scope.Variables[name]; ok {
			return true
		}
	}
	return false
}

// steps are a traversal's names; it ends before anything that is not a name.
func steps(t hcl.Traversal) []string {
	out := []string{t.RootName()}
	for _, step := range t[1:] {
		switch s := step.(type) {
		case hcl.TraverseAttr:
			out = append(out, s.Name)
		case hcl.TraverseIndex:
			if s.Key.Type() != cty.String {
				return out
			}
			out = append(out, s.Key.AsString())
		default:
			return out
		}
	}
	return out
}

// plant adds a path to a tree. A name that is a value in one reference and a parent in another keeps
// being a parent; the shorter reference is then no text and gets HCL's own error.
func plant(tree map[string]any, path []string) {
	for ; len(path) > 1; path = path[1:] {
		next, ok := tree[path[0]].(map[string]any)
		if !ok {
			next = map[string]any{}
			tree[path[0]] = next
		}
		tree = next
	}
	if tree[path[0]] == nil {
		tree[path[0]] = path[0]
	}
}

func grow(name string, branch any) cty.Value {
	children, ok := branch.(map[string]any)
	if !ok {
		return cty.StringVal(runtimeOpen + name + runtimeClose)
	}
	values := map[string]cty.Value{}
	for k, b := range children {
		values[k] = grow(name+"."+k, b)
	}
	return cty.ObjectVal(values)
}

// surroundings are what is known of the place where a task's texts end up.
type surroundings struct {
	job, group, task string
	meta             map[string]string
	ports            []port
	// disk is set if the group has an ephemeral disk.
	disk bool
	// cores and memory are the resources as written in the file, 0 if absent.
	cpu, memory int64
}

// source tells what a reference stands for: a fixed text, or a field of the pod.
func (s *surroundings) source(ref string) (fixed, fieldPath, why string) {
	switch ref {
	case "NOMAD_ALLOC_ID":
		return "", "metadata.uid", ""
	case "NOMAD_ALLOC_NAME":
		return "", "metadata.name", ""
	case "NOMAD_ALLOC_INDEX":
		return "", "", "pods have no index here; NOMAD_ALLOC_NAME and NOMAD_ALLOC_ID tell them apart"
	case "NOMAD_NAMESPACE":
		return "", "metadata.namespace", ""
	case "NOMAD_JOB_NAME", "NOMAD_JOB_ID":
		return s.job, "", ""
	case "NOMAD_GROUP_NAME":
		return s.group, "", ""
	case "NOMAD_TASK_NAME":
		return s.task, "", ""
	case "node.unique.name", "node.unique.id", "attr.unique.hostname":
		return "", "spec.nodeName", ""
	case "attr.unique.network.ip-address":
		return "", "status.hostIP", ""
	case "NOMAD_CPU_LIMIT":
		return known(s.cpu, "the task has no cpu in resources")
	case "NOMAD_MEMORY_LIMIT":
		return known(s.memory, "the task has no memory in resources")
	case "NOMAD_ALLOC_DIR":
		if s.disk {
			return sharedDir, "", ""
		}
		return "", "", "the group has no ephemeral_disk"
	}
	return s.prefixed(ref)
}

func known(n int64, why string) (string, string, string) {
	if n == 0 {
		return "", "", why
	}
	return strconv.FormatInt(n, 10), "", ""
}

// prefixed are the references that end in a name.
func (s *surroundings) prefixed(ref string) (fixed, fieldPath, why string) {
	for prefix, of := range map[string]func(p port) (string, string){
		"NOMAD_PORT_":      func(p port) (string, string) { return strconv.Itoa(int(p.container)), "" },
		"NOMAD_HOST_PORT_": func(p port) (string, string) { return strconv.Itoa(int(p.host)), "" },
		"NOMAD_IP_":        func(port) (string, string) { return "", "status.podIP" },
		"NOMAD_HOST_IP_":   func(port) (string, string) { return "", "status.hostIP" },
	} {
		label, ok := strings.CutPrefix(ref, prefix)
		if !ok {
			continue
		}
		p, found := portNamed(s.ports, label)
		if !found || prefix == "NOMAD_HOST_PORT_" && p.host == 0 {
			return "", "", "the group's network has no such port"
		}
		fixed, fieldPath = of(p)
		return fixed, fieldPath, ""
	}
	if key, ok := strings.CutPrefix(ref, "NOMAD_META_"); ok {
		if value, found := s.meta[key]; found {
			return value, "", ""
		}
		return "", "", "there is no such key in meta"
	}
	return "", "", "a pod does not know it; it may be used in constraints, or see `peapod explain pod.spec.containers.env.valueFrom.fieldRef`"
}

// containerText replaces the references of a container's text and notes the environment variables
// that it then needs.
func (b *block) containerText(text string, at hcl.Range, s *surroundings, needs map[string]string) string {
	return runtimeReference.ReplaceAllStringFunc(text, func(match string) string {
		ref := runtimeReference.FindStringSubmatch(match)[1]
		// An address is two references.
		if label, ok := strings.CutPrefix(ref, "NOMAD_ADDR_"); ok {
			if p, found := portNamed(s.ports, label); found {
				needs["NOMAD_IP_"+label] = "status.podIP"
				return "$(NOMAD_IP_" + label + "):" + strconv.Itoa(int(p.container))
			}
		}
		fixed, fieldPath, why := s.source(ref)
		switch {
		case why != "":
			b.fault(at, "${%s} has no value here: %s", ref, why)
			return ""
		case fieldPath == "":
			return fixed
		}
		name := variableName(ref)
		needs[name] = fieldPath
		return "$(" + name + ")"
	})
}

// variableName makes a reference the name of an environment variable.
func variableName(ref string) string {
	if strings.HasPrefix(ref, "NOMAD_") {
		return strings.ReplaceAll(ref, "-", "_")
	}
	return strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(ref))
}

// neededEnv are the environment variables behind the references, in a fixed order.
func neededEnv(needs map[string]string) []corev1.EnvVar {
	var out []corev1.EnvVar
	for _, name := range sortedKeys(needs) {
		out = append(out, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: needs[name]},
		}})
	}
	return out
}
