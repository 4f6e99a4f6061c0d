package extendtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// definition is of a kind in a group of its own, so that tests do not meet.
func definition(group string) string {
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.%[1]s}
spec:
  group: %[1]s
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    selectableFields: [{jsonPath: .spec.color}]
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    schema:
      openAPIV3Schema:
        type: object
        description: A widget is made of parts.
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - {rule: "self.size <= 10 || self.color == 'red'", message: only red ones are large}
            properties:
              size: {type: integer, default: 3}
              color: {type: string, description: What one sees.}
              replicas: {type: integer}
          status:
            type: object
            properties: {replicas: {type: integer}}
`, group)
}

func widget(group, name, spec string) string {
	return fmt.Sprintf("apiVersion: %s/v1\nkind: Widget\nmetadata: {name: %s}\nspec: {%s}\n", group, name, spec)
}

// define makes a definition that goes with the test.
func define(t *testing.T, k kit.Kubectl, group string) {
	t.Helper()
	k.In(definition(group)).Must(t, "apply", "-f", "-")
	t.Cleanup(func() { k.Try("delete", "crd", "widgets."+group, "--wait=false", "--ignore-not-found") })
	k.Must(t, "wait", "--for=condition=Established", "crd/widgets."+group, "--timeout=60s")
}

func TestKubectlUsesCustomResources(t *testing.T) {
	const group = "use.example"
	_, k := space(t)
	define(t, k, group)
	kit.Eventually(t, limit, "the kind is known", func() error {
		return k.In(widget(group, "one", "color: blue, replicas: 2")).Try("apply", "-f", "-").Failure()
	})
	kit.WantMatch(t, k.Must(t, "get", "widgets."+group), `NAME +SIZE`, `one +3`)
	kit.WantMatch(t, k.Must(t, "explain", "widgets."+group+".spec"), `color\s+<string>`, `What one sees`)
	k.Want(t, "widget."+group+"/one\n", "get", "widgets."+group, "--field-selector=spec.color=blue", "-o", "name")
	k.Want(t, "", "get", "widgets."+group, "--field-selector=spec.color=red", "-o", "name", "--ignore-not-found")
	k.Must(t, "scale", "widgets."+group+"/one", "--replicas=5")
	k.Want(t, "5 2", "get", "widgets."+group, "one", "-o", "jsonpath={.spec.replicas} {.metadata.generation}")
	kit.WantMatch(t, k.Fail(t, "patch", "widgets."+group, "one", "--type=merge", "-p", `{"spec":{"size":11}}`), `only red ones are large`)
	kit.WantMatch(t, k.In(widget(group, "two", "colour: blue")).Fail(t, "apply", "-f", "-"), `unknown field "spec.colour"`)
	kit.WantMatch(t, k.In(widget(group, "one", "replicas: 2")).Fail(t, "apply", "--server-side", "-f", "-"), `conflict`)
	k.In(widget(group, "one", "replicas: 2")).Must(t, "apply", "--server-side", "--force-conflicts", "-f", "-")
	k.Must(t, "delete", "crd", "widgets."+group, "--timeout=60s")
	kit.Eventually(t, limit, "the kind is unknown", func() error {
		if k.Try("get", "widgets."+group).Code == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
}

// TestKubectlTriesAndFollowsCustomResources: what only asks what would be changes nothing, and what waits sees each change.
func TestKubectlTriesAndFollowsCustomResources(t *testing.T) {
	const group = "follow.example"
	_, k := space(t)
	define(t, k, group)
	all := "widgets." + group
	kit.Eventually(t, limit, "the kind is known", func() error { return k.In(widget(group, "one", "color: blue")).Try("apply", "-f", "-").Failure() })
	red := k.In(widget(group, "one", "color: red"))
	red.Want(t, "red 3", "apply", "--dry-run=server", "-f", "-", "-o", "jsonpath={.spec.color} {.spec.size}")
	if diff := red.Try("diff", "-f", "-"); diff.Code != 1 || kit.Matches(diff.Out, `^-  color: blue\n\+  color: red$`) != nil {
		t.Errorf("kubectl diff says %+v", diff)
	}
	kit.WantMatch(t, k.In(widget(group, "two", "size: 11")).Fail(t, "apply", "--dry-run=server", "-f", "-"), `only red ones are large`)
	k.Want(t, "blue", "get", all, "-o", "jsonpath={.items[*].spec.color}")
	kit.WantMatch(t, k.Must(t, "explain", all, "--recursive"), `^  spec\t<Object>$`, `^    size\t<integer>$`, `^  status\t<Object>$`)

	waited, watched := make(chan kit.Result, 1), make(chan kit.Result, 1)
	go func() { waited <- k.Try("wait", all+"/one", "--for=jsonpath={.spec.color}=red", "--timeout=60s") }()
	go func() {
		watched <- k.Try("get", all, "--watch-only", "--output-watch-events", "--field-selector=spec.color=blue", "--request-timeout=8s")
	}()
	time.Sleep(4 * time.Second) // for both to begin; if one has not, it is told of what it missed or fails below
	red.Must(t, "apply", "-f", "-")
	if err := (<-waited).Failure(); err != nil {
		t.Error(err)
	}
	kit.WantMatch(t, (<-watched).Out, `^DELETED +one +3`)

	// An autoscaler of an object that does not say how many pods it wants says so.
	k.Must(t, "autoscale", all, "one", "--min=1", "--max=3", "--cpu=50%")
	k.Becomes(t, limit, `False FailedGetScale the HPA controller was unable to get the target's current scale: Internal error occurred: the spec replicas field ".spec.replicas" does not exist`,
		"get", "hpa", "one", "-o", "jsonpath={.status.conditions[0].status} {.status.conditions[0].reason} {.status.conditions[0].message}")
	k.Must(t, "patch", all, "one", "--type=merge", "-p", `{"spec":{"replicas":7}}`)
	k.Becomes(t, limit, "3", "get", all, "one", "-o", "jsonpath={.spec.replicas}")
}

// TestCustomResourcesGoWithOwnersAndNamespaces: what works by metadata works for every kind.
func TestCustomResourcesGoWithOwnersAndNamespaces(t *testing.T) {
	const group = "owned.example"
	_, k := space(t)
	define(t, k, group)
	kit.Eventually(t, limit, "the kind is known", func() error { return k.In(widget(group, "top", "")).Try("apply", "-f", "-").Failure() })
	uid := k.Must(t, "get", "widgets."+group, "top", "-o", "jsonpath={.metadata.uid}")
	owner := fmt.Sprintf("ownerReferences: [{apiVersion: %s/v1, kind: Widget, name: top, uid: %s}]", group, uid)
	k.In(strings.Replace(widget(group, "below", ""), "name: below", "name: below, "+owner, 1)).Must(t, "apply", "-f", "-")
	k.In("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: below, "+owner+"}\n").Must(t, "apply", "-f", "-")
	k.Must(t, "delete", "widgets."+group, "top")
	k.Becomes(t, limit, "", "get", "widgets."+group, "-o", "name")
	k.Becomes(t, limit, "", "get", "configmap", "below", "-o", "name", "--ignore-not-found")
	k.Must(t, "create", "namespace", "crd-space")
	in := k
	in.Namespace = "crd-space"
	in.In(widget(group, "inside", "")).Must(t, "apply", "-f", "-")
	k.Must(t, "delete", "namespace", "crd-space", "--timeout=60s")
	k.Becomes(t, limit, "", "get", "widgets."+group, "-A", "-o", "name")
}

// TestCustomResourcesOnEveryServer: a kind made through one server is served by all, and by all of them after they were all dead.
func TestCustomResourcesOnEveryServer(t *testing.T) {
	const group = "everywhere.example"
	l, k := space(t)
	define(t, k, group)
	for i, server := range []string{"server1", "server2", "server3"} {
		name := fmt.Sprintf("w%d", i)
		kit.Eventually(t, limit, server+" serves the kind", func() error {
			return k.In(widget(group, name, "")).Try("--context", server, "apply", "-f", "-").Failure()
		})
	}
	l.Do(t, "kill", "server1", "server2", "server3")
	l.Do(t, "restart", "server1", "server2", "server3")
	for _, server := range []string{"server1", "server2", "server3"} {
		k.Becomes(t, limit, "w0 w1 w2", "--context", server, "get", "widgets."+group, "-o", "jsonpath={.items[*].metadata.name}")
	}
	k.Must(t, "label", "widgets."+group, "w0", "alive=yes")
}
