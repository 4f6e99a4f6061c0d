package kubectltest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// seven makes configmaps c1 to c7, whose values go down as their names go up. Those with odd numbers are labeled.
func seven(t *testing.T, k kit.Kubectl) {
	t.Helper()
	var text strings.Builder
	for i := 1; i <= 7; i++ {
		fmt.Fprintf(&text, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, labels: {seven: 'yes', odd: '%d'}}\ndata: {k: v%d}\n---\n", i, i%2, 9-i)
	}
	k.In(text.String()).Must(t, "create", "-f", "-")
}

func TestGetOutputs(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	seven(t, k)
	names := func(args ...string) string {
		out := k.Must(t, append(append([]string{"get", "cm", "-l", "seven"}, args...), "--no-headers", "-o", "custom-columns=N:.metadata.name")...)
		return strings.Join(strings.Fields(out), " ")
	}
	for want, args := range map[string][]string{
		"c7 c6 c5 c4 c3 c2 c1": {"--sort-by=.data.k"},
		"c1 c2 c3 c4 c5 c6 c7": {"--sort-by={.metadata.name}", "--chunk-size=2"},
		"c1 c3 c5 c7":          {"-l", "odd in (1),none!=x"},
		"c2 c4 c6":             {"-l", "odd notin (1),seven"},
		"c3":                   {"--field-selector=metadata.name=c3"},
		"c1 c2 c4 c5 c6 c7":    {"--field-selector=metadata.name!=c3"},
	} {
		if got := names(args...); got != want {
			t.Errorf("get %v: %s, want %s", args, got, want)
		}
	}
	kit.WantMatch(t, k.Try("get", "cm", "-l", "seven", "--chunk-size=3", "-o", "name", "-v=6").Err, `configmaps\?labelSelector=seven&limit=3"`, `configmaps\?continue=\S+&labelSelector=seven&limit=3"`)
	kit.WantMatch(t, k.Fail(t, "get", "cm", "--field-selector=data.k=v1"), `^Error from server \(BadRequest\): Unable to find "/v1, Resource=configmaps" that match label selector "", field selector "data.k=v1": field label not supported: data.k$`)
	kit.WantMatch(t, k.Fail(t, "get", "cm", "-l", "seven in yes"), `unable to parse requirement: found 'yes' expected: '\('$`)
	k.Want(t, "NAME   K\nc1     v8\nc2     v7", "get", "cm", "c1", "c2", "-o", "custom-columns-file="+oneFile(t, "NAME K\n.metadata.name .data.k\n"))
	k.Want(t, "v8", "get", "cm", "c1", "-o", "go-template-file="+oneFile(t, "{{.data.k}}"))
	k.Want(t, "v8", "get", "cm", "c1", "-o", "jsonpath-file="+oneFile(t, "{.data.k}"))
	k.Want(t, "[\n    {\n        \"k\": \"v8\"\n    }\n]", "get", "cm", "c1", "-o", "jsonpath-as-json={.data}")
	k.Want(t, "c1=v8 c3=v6 c5=v4 c7=v2", "get", "cm", "-l", "odd=1", "-o", `jsonpath={range .items[*]}{.metadata.name}={.data.k} {end}`)
	kit.WantMatch(t, k.Must(t, "get", "cm", "c1", "-o", "kyaml"), `^  kind: "ConfigMap",$`, `^    k: "v8",$`)
	kit.WantMatch(t, k.Must(t, "get", "cm", "-l", "seven", "-L", "odd", "--show-kind"), `^NAME +DATA +AGE +ODD$`, `^configmap/c1 +1 +\S+ +1$`)
	kit.WantMatch(t, k.Must(t, "get", "cm", "c1", "--server-print=false"), `^NAME +AGE\nc1 +\S+\n\z`)
	kit.WantMatch(t, k.Must(t, "get", "cm/c1", "sa/default"), `^configmap/c1 +1 `, `^serviceaccount/default `)
	r := k.Try("get", "cm", "c1", "none")
	kit.WantMatch(t, r.Out, `^c1 +1 `)
	kit.WantMatch(t, r.Err, `^Error from server \(NotFound\): configmaps "none" not found$`)
	k.Want(t, "configmap/c1", "get", "cm", "c1", "none", "--ignore-not-found", "-o", "name")
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/api/v1/namespaces/"+k.Namespace+"/configmaps?limit=1&labelSelector=seven"), `^\{"kind":"ConfigMapList","apiVersion":"v1","metadata":\{"resourceVersion":"\d+","continue":"\S+?"\},"items":\[\{"metadata":\{"name":"c1"`)
	kit.WantMatch(t, k.Must(t, "get", "--raw", "/api/v1/namespaces/"+k.Namespace+"/configmaps?limit=1"), `"remainingItemCount":7`)
}

func TestGetWatchOnly(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	seven(t, k)
	only := lines(t, k, "get", "cm", "-l", "seven", "--watch-only", "--output-watch-events", "-o", "custom-columns=T:.type,N:.object.metadata.name,K:.object.data.k", "--no-headers")
	listed := lines(t, k, "get", "cm", "-l", "seven", "-w", "--output-watch-events", "--no-headers")
	awaitLine(t, listed, "c7")
	// The watch that lists nothing has begun when it tells of a change; until then changes go on.
	kit.Eventually(t, limit, "the first change", func() error {
		k.Must(t, "patch", "cm", "c2", "--type=json", "-p", `[{"op":"add","path":"/data/k","value":"`+fmt.Sprint(len(only))+k.Must(t, "get", "cm", "c2", "-o", "jsonpath={.metadata.resourceVersion}")+`"}]`)
		if len(only) == 0 {
			return fmt.Errorf("nothing is told")
		}
		return nil
	})
	if first := strings.Fields(<-only); len(first) != 3 || first[0] != "MODIFIED" || first[1] != "c2" {
		t.Errorf("the first of the changes is %v", first)
	}
	k.Must(t, "label", "cm", "c3", "seven-")
	awaitLine(t, only, "DELETED    c3")
	k.Must(t, "delete", "cm", "c4")
	awaitLine(t, listed, "DELETED    c4")
}

func TestDeleteForms(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	seven(t, k)
	from := ` deleted from ` + k.Namespace + ` namespace`
	left := func(want string) {
		t.Helper()
		if got := strings.Join(strings.Fields(k.Must(t, "get", "cm", "-l", "seven", "-o", "jsonpath={.items[*].metadata.name}")), " "); got != want {
			t.Errorf("left are %q, want %q", got, want)
		}
	}
	k.Want(t, `configmap "c1"`+from+` (server dry run)`, "delete", "cm", "c1", "--dry-run=server")
	k.Want(t, `configmap "c1"`+from+` (dry run)`, "delete", "cm", "c1", "--dry-run=client")
	left("c1 c2 c3 c4 c5 c6 c7")
	k.Want(t, `configmap "c2"`+from, "delete", "cm", "--field-selector=metadata.name=c2")
	k.Want(t, "configmap/c1\nconfigmap/c3\nconfigmap/c5\nconfigmap/c7", "delete", "cm", "-l", "odd=1", "-o", "name")
	left("c4 c6")
	k.Want(t, `configmap "c4"`+from, "delete", "configmap/c4", "--cascade=orphan", "--wait=false")
	k.In("n\n").Want(t, "You are about to delete the following 1 resource(s):\nconfigmap/c6\nDo you want to continue? (y/N): deletion is cancelled", "delete", "cm", "c6", "--interactive")
	k.In("y\n").Must(t, "delete", "cm", "c6", "-i")
	left("")
	kit.WantMatch(t, k.Fail(t, "delete", "cm", "none"), `^Error from server \(NotFound\): configmaps "none" not found$`)
	k.Want(t, "", "delete", "cm", "none", "--ignore-not-found")
	kit.WantMatch(t, k.Fail(t, "delete", "cm"), `^error: resource\(s\) were provided, but no name was specified$`)
	kit.WantMatch(t, k.Fail(t, "delete", "ns", "default"), `^Error from server \(Forbidden\): namespaces "default" is forbidden: this namespace may not be deleted$`)
	// What every namespace has comes back.
	kit.WantMatch(t, k.Must(t, "delete", "cm,sa", "--all"), `^configmap "kube-root-ca.crt"`+from+`$`, `^serviceaccount "default"`+from+`$`)
	k.Must(t, "wait", "--for=create", "cm/kube-root-ca.crt", "sa/default", "--timeout=30s")
	// A finalizer holds what is deleted until it is taken away.
	k.In(strings.Replace(configMap, "name: settings", "name: settings, finalizers: [example.com/hold]", 1)).Must(t, "create", "-f", "-")
	kit.WantMatch(t, k.Try("delete", "cm", "settings", "--timeout=1s").Err, `^error: timed out waiting for the condition on configmaps/settings$`)
	kit.WantMatch(t, k.Must(t, "get", "cm", "settings", "-o", "jsonpath={.metadata.deletionTimestamp}"), `^\d{4}-`)
	k.Must(t, "patch", "cm", "settings", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
	kit.WantMatch(t, k.Fail(t, "get", "cm", "settings"), `\(NotFound\)`)
}
