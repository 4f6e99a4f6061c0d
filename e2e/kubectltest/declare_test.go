package kubectltest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// files writes a directory of small files.
func files(t *testing.T, content map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// oneFile is a file with a text.
func oneFile(t *testing.T, text string) string {
	t.Helper()
	return files(t, map[string]string{"x.yaml": text}) + "/x.yaml"
}

func TestKustomize(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	dir := files(t, map[string]string{
		"kustomization.yaml": `namePrefix: pre-
labels: [{pairs: {team: peas}, includeSelectors: true}]
resources: [web.yaml]
configMapGenerator: [{name: conf, literals: [a=b]}]
secretGenerator: [{name: sec, literals: [a=b]}]
images: [{name: peapod/demo, newTag: latest}]
replicas: [{name: web, count: 1}]
`,
		"web.yaml": strings.Replace(deployment("web", 5, ""), `env: [{name: V, value: "1"}]`, "envFrom: [{configMapRef: {name: conf}}]", 1),
	})
	kit.WantMatch(t, k.Must(t, "kustomize", dir), `^  name: pre-conf-4h2mbtbbt6$`, `image: peapod/demo:latest$`, `^      team: peas$`)
	if r := k.Try("diff", "-k", dir); r.Code != 1 || kit.Matches(r.Out, `^\+  name: pre-web$`) != nil {
		t.Errorf("diff of what is not there: %+v", r)
	}
	k.Want(t, "configmap/pre-conf-4h2mbtbbt6 created\nsecret/pre-sec-k695gkmbtk created\ndeployment.apps/pre-web created", "apply", "-k", dir)
	k.Must(t, "rollout", "status", "deploy/pre-web", "--timeout=30s")
	kit.WantMatch(t, k.Must(t, "get", "-k", dir), `^configmap/pre-conf-4h2mbtbbt6 +1 `, `^secret/pre-sec-k695gkmbtk +Opaque +1 `, `^deployment.apps/pre-web +1/1 +1 +1 `)
	if r := k.Try("diff", "-k", dir); r.Code != 0 || r.Out != "" {
		t.Errorf("diff of what is there: %+v", r)
	}
	in := " deleted from " + k.Namespace + " namespace\n"
	k.Want(t, `configmap "pre-conf-4h2mbtbbt6"`+in+`secret "pre-sec-k695gkmbtk"`+in+`deployment.apps "pre-web"`+in, "delete", "-k", dir)
}

// pruned are three objects, of which the first stays.
const pruned = `apiVersion: v1
kind: ConfigMap
metadata: {name: kept, labels: {of: pruned}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: gone, labels: {of: pruned}}
---
apiVersion: v1
kind: Secret
metadata: {name: gone, labels: {of: pruned}}
`

func TestPrune(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kept, _, _ := strings.Cut(pruned, "---")
	all, less := k.In(pruned), k.In(kept)
	all.Must(t, "apply", "-f", "-")
	less.Want(t, "configmap/kept unchanged\nconfigmap/gone pruned", "apply", "-f", "-", "--prune", "-l", "of=pruned", "--prune-allowlist=core/v1/ConfigMap")
	k.Want(t, "configmap/kept\nsecret/gone", "get", "cm,secret", "-l", "of=pruned", "-o", "name")
	less.Want(t, "configmap/kept unchanged (server dry run)\nsecret/gone pruned (server dry run)", "apply", "-f", "-", "--prune", "-l", "of=pruned", "--prune-allowlist=core/v1/Secret", "--dry-run=server")
	less.Want(t, "configmap/kept unchanged\nsecret/gone pruned", "apply", "-f", "-", "--prune", "-l", "of=pruned", "--prune-allowlist=core/v1/Secret")
	k.Want(t, "configmap/kept", "get", "cm,secret", "-l", "of=pruned", "-o", "name")
}

func TestApplySet(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k = k.With("KUBECTL_APPLYSET=true")
	kept, _, _ := strings.Cut(pruned, "---")
	k.In(pruned).Want(t, "configmap/kept created\nconfigmap/gone created\nsecret/gone created", "apply", "-f", "-", "--prune", "--applyset=set")
	k.Want(t, "ConfigMap,Secret", "get", "secret", "set", "-o", `jsonpath={.metadata.annotations.applyset\.kubernetes\.io/contains-group-kinds}`)
	id := k.Must(t, "get", "secret", "set", "-o", `jsonpath={.metadata.labels.applyset\.kubernetes\.io/id}`)
	k.Want(t, "configmap/gone\nconfigmap/kept\nsecret/gone", "get", "cm,secret", "-l", "applyset.kubernetes.io/part-of="+id, "-o", "name")
	kit.WantMatch(t, k.In(kept).Must(t, "apply", "-f", "-", "--prune", "--applyset=set"), `^configmap/kept unchanged$`, `^configmap/gone pruned$`, `^secret/gone pruned$`)
	k.Want(t, "ConfigMap", "get", "secret", "set", "-o", `jsonpath={.metadata.annotations.applyset\.kubernetes\.io/contains-group-kinds}`)
	// Another set takes it over; its parent is made if it is a Secret or a ConfigMap.
	k.In(kept).Want(t, "configmap/kept configured", "apply", "-f", "-", "--prune", "--applyset=configmaps/other")
	k.Want(t, "", "get", "cm", "-l", "applyset.kubernetes.io/part-of="+id, "-o", "name")
	kit.WantMatch(t, k.In(kept).Fail(t, "apply", "-f", "-", "--prune", "--applyset=deployments.apps/other"), `^error: resource "apps/v1, Resource=deployments" is not permitted as an ApplySet parent$`)
}

func TestReplace(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	kit.WantMatch(t, k.In(configMap).Fail(t, "replace", "-f", "-"), `^Error from server \(NotFound\): error when replacing "STDIN": configmaps "settings" not found$`)
	k.In(configMap).Want(t, "configmap/settings created", "create", "-f", "-")
	kit.WantMatch(t, k.In(configMap).Fail(t, "create", "-f", "-"), `^Error from server \(AlreadyExists\): error when creating "STDIN": configmaps "settings" already exists$`)
	uid := k.Must(t, "get", "cm", "settings", "-o", "jsonpath={.metadata.uid}")
	changed := strings.Replace(configMap, "{color: blue, size: big}", "{color: red}", 1)
	k.In(changed).Want(t, "configmap/settings replaced", "replace", "-f", "-")
	k.Want(t, `{"color":"red"} `+uid, "get", "cm", "settings", "-o", "jsonpath={.data} {.metadata.uid}")
	kit.WantMatch(t, k.In(strings.Replace(changed, "name: settings", "name: settings, resourceVersion: '1'", 1)).Fail(t, "replace", "-f", "-"),
		`^Error from server \(Conflict\): error when replacing "STDIN": Operation cannot be fulfilled on configmaps "settings": the object has been modified; please apply your changes to the latest version and try again$`)
	k.In(configMap).Want(t, `configmap "settings" deleted from `+k.Namespace+" namespace\nconfigmap/settings replaced", "replace", "--force", "-f", "-")
	if now := k.Must(t, "get", "cm", "settings", "-o", "jsonpath={.metadata.uid}"); now == uid {
		t.Error("replaced by force, it is still the same object")
	}
	raw := "/api/v1/namespaces/" + k.Namespace + "/configmaps"
	kit.WantMatch(t, k.In(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"}}`).Must(t, "create", "--raw="+raw, "-f", "-"), `"name":"raw"`)
	kit.WantMatch(t, k.In(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"},"data":{"a":"b"}}`).Must(t, "replace", "--raw="+raw+"/raw", "-f", "-"), `"data":\{"a":"b"\}`)
	kit.WantMatch(t, k.Must(t, "delete", "--raw="+raw+"/raw"), `"status":"Success","details":\{"name":"raw","kind":"configmaps","uid":"`)
}

// editor is the environment of an editor that changes one text to another.
func editor(t *testing.T, from, to string) string {
	t.Helper()
	file := filepath.Join(files(t, map[string]string{"editor": "#!/bin/sh\nsed -i 's/" + from + "/" + to + "/' \"$1\"\n"}), "editor")
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	return "KUBE_EDITOR=" + file
}

func TestEditForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k = k.With("TMPDIR=" + t.TempDir()) // what cannot be saved is kept there
	k.In(deployment("web", 0, "")).Must(t, "apply", "-f", "-")
	k.In(configMap+"---\n"+strings.Replace(configMap, "settings", "others", 1)).Must(t, "apply", "-f", "-")
	blue := editor(t, "color: blue", "color: green")
	k.With(blue).Want(t, "configmap/settings edited\nconfigmap/others edited", "edit", "cm", "settings", "others")
	kit.WantMatch(t, k.With(editor(t, `"color": "green"`, `"color": "grey"`)).Must(t, "edit", "cm", "settings", "-o", "json"), `"color": "grey"`)
	k.Want(t, "green grey", "get", "cm", "others", "settings", "-o", "jsonpath={.items[*].data.color}")
	k.With(editor(t, "observedGeneration: 1", "observedGeneration: 7")).Want(t, "deployment.apps/web edited", "edit", "deploy", "web", "--subresource=status")
	kit.WantMatch(t, k.With(editor(t, "replicas: 0", "replicas: -1")).Fail(t, "edit", "deploy", "web"), `^error: deployments.apps "web" is invalid$`)
	kit.WantMatch(t, k.With(editor(t, "replicas: 0", "replicaz: 1")).Fail(t, "edit", "deploy", "web"), `^error: deployments.apps "web" is invalid$`)
	kit.WantMatch(t, k.With(editor(t, "^  name: web", "  name: other")).Fail(t, "edit", "deploy", "web"), `^error: At least one of apiVersion, kind and name was changed$`)
	kit.WantMatch(t, k.With(blue).Fail(t, "edit", "cm", "none"), `^Error from server \(NotFound\): configmaps "none" not found$`)
	file := oneFile(t, strings.Replace(configMap, "settings", "fresh", 1))
	k.With(blue).Want(t, "configmap/fresh created", "create", "--edit", "-f", file)
	k.Want(t, "green", "get", "cm", "fresh", "-o", "jsonpath={.data.color}")
	// What was applied last is what the next apply compares with.
	k.With(blue).Want(t, "configmap/settings edited", "apply", "edit-last-applied", "cm", "settings")
	kit.WantMatch(t, k.Must(t, "apply", "view-last-applied", "cm/settings"), `^  color: green$`)
	k.In(configMap).Want(t, "configmap/settings configured", "apply", "set-last-applied", "-f", "-")
	kit.WantMatch(t, k.Must(t, "apply", "view-last-applied", "cm/settings", "-o", "json"), `"color": "blue"`)
}
