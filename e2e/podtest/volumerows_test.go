package podtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// volumeRow is a pod that looks at its volume /v, says what it sees and ends.
type volumeRow struct {
	ids    string // of the conformance list
	volume string // YAML of the volume
	mount  string // more of its mount
	pod    string // more of the pod's spec
	more   string // more of the container
	script string
	want   []string // expressions that its log matches
	change bool     // it waits for a change
}

// volumeObjects are what the rows' volumes show.
const volumeObjects = `apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {data-1: value-1, data-2: value-2, data-3: value-3}
binaryData: {dump.bin: 3vwAAA==}
---
apiVersion: v1
kind: Secret
metadata: {name: sec}
stringData: {data-1: value-1, data-2: value-2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: changing}
data: {data-1: value-1}
---
apiVersion: v1
kind: Secret
metadata: {name: changing}
stringData: {data-1: value-1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: doomed}
data: {data-1: value-1}
---
apiVersion: v1
kind: Secret
metadata: {name: doomed}
stringData: {data-1: value-1}
`

const (
	modes    = `stat -L -c "%n %a %u:%g" /v/*; cat /v/data-1 /v/a/b 2>/dev/null; true`
	twice    = "volumeMounts: [{name: v, mountPath: /v}, {name: w, mountPath: /w}]"
	nonRoot  = "securityContext: {runAsUser: 1000}"
	grouped  = "securityContext: {runAsUser: 1000, fsGroup: 1001}"
	limitsOf = "resources: {requests: {cpu: 250m, memory: 32Mi}, limits: {cpu: 1250m, memory: 64Mi}}"
)

// projections are the rows that ConfigMaps, Secrets and their projections have in common.
func projectionRows() (rows []volumeRow) {
	for _, k := range []struct{ ids, plain, projected string }{
		{"ST007 ST009 ST010 ST011 | ST048 ST050 ST051 ST052", "configMap: {name: cm", "configMap: {name: cm"},
		{"ST076 ST078 ST079 ST080 | ST068 ST070 ST071 ST072", "secret: {secretName: sec", "secret: {name: sec"},
	} {
		for i, v := range []struct{ open, shut string }{{k.plain, "}"}, {"projected: {sources: [{" + k.projected + "}}]", "}"}} {
			ids := strings.Split(k.ids, " | ")[i]
			items := func(more string) string {
				one := ", items: [{key: data-1, path: a/b" + more + "}]"
				if i == 0 {
					return v.open + one + v.shut
				}
				return "projected: {sources: [{" + k.projected + one + "}}]}"
			}
			rows = append(rows,
				volumeRow{ids: ids, volume: v.open + v.shut, script: modes, want: []string{`^/v/data-1 644 0:0$`, `^/v/data-2 644 0:0$`, `value-1`}},
				volumeRow{ids: ids, volume: v.open + ", defaultMode: 0400" + v.shut, script: modes, want: []string{`^/v/data-1 400 0:0$`, `value-1`}},
				volumeRow{ids: ids, volume: items(""), script: `find -L /v -maxdepth 2 -name b; ` + modes + `; stat -L -c %a /v/a/b`, want: []string{`^/v/a/b$`, `value-1`, `644$`}},
				volumeRow{ids: ids, volume: items(", mode: 0400"), script: `cat /v/a/b; echo; stat -L -c %a /v/a/b; ls /v`, want: []string{`^value-1$`, `^400$`, `^a$`}},
				volumeRow{ids: ids + " non-root", volume: v.open + v.shut, pod: nonRoot, script: "id -u; cat /v/data-1", want: []string{`^1000$`, `value-1`}},
				volumeRow{ids: ids + " non-root items", volume: items(""), pod: nonRoot, script: "cat /v/a/b", want: []string{`value-1`}},
				volumeRow{ids: "ST069 ST077", volume: v.open + ", defaultMode: 0440" + v.shut, pod: grouped,
					script: "id -G; cat /v/data-1; stat -L -c '%a %g' /v/data-1", want: []string{`1001`, `value-1`, `440 1001$`}},
			)
		}
	}
	return rows
}

func downwardRows() (rows []volumeRow) {
	resource := func(r string) string {
		return "{path: x, resourceFieldRef: {containerName: c, resource: " + r + "}}"
	}
	for _, c := range []struct{ ids, item, more, want string }{
		{"ST016 ST056", resource("limits.cpu, divisor: 1m"), limitsOf, `^1250$`},
		{"ST017 ST057", resource("requests.cpu, divisor: 1m"), limitsOf, `^250$`},
		{"ST018 ST058", resource("limits.memory"), limitsOf, `^67108864$`},
		{"ST019 ST059", resource("requests.memory, divisor: 1Mi"), limitsOf, `^32$`},
		{"ST020 ST060", resource("limits.cpu"), "", `^[1-9]\d*$`},
		{"ST021 ST061", resource("limits.memory"), "", `^[1-9]\d{7,}$`},
		{"ST022 ST062", "{path: x, fieldRef: {fieldPath: metadata.name}}", "", `^row-\d+$`},
		{"ST024 ST064", "{path: x, mode: 0400, fieldRef: {fieldPath: metadata.namespace}}", "", `^400$`},
	} {
		script := "cat /v/x; echo; stat -L -c %a /v/x"
		rows = append(rows, volumeRow{ids: c.ids, volume: "downwardAPI: {items: [" + c.item + "]}", more: c.more, script: script, want: []string{c.want}},
			volumeRow{ids: c.ids, volume: "projected: {sources: [{downwardAPI: {items: [" + c.item + "]}}]}", more: c.more, script: script, want: []string{c.want}})
	}
	return append(rows, volumeRow{ids: "ST023 ST063", volume: "downwardAPI: {defaultMode: 0400, items: [{path: x, fieldRef: {fieldPath: metadata.name}}]}",
		script: "stat -L -c %a /v/x", want: []string{`^400$`}})
}

func emptyDirRows() (rows []volumeRow) {
	for _, medium := range []struct{ yaml, kind string }{{"{}", `^(ext4|xfs|overlay|btrfs)$`}, {"{medium: Memory}", `^tmpfs$`}} {
		for _, user := range []string{"0", "1001"} {
			for _, mode := range []string{"0644", "0666", "0777"} {
				rows = append(rows, volumeRow{ids: "ST028 to ST041", volume: "emptyDir: " + medium.yaml, pod: "securityContext: {runAsUser: " + user + "}",
					script: "echo content >/v/f; chmod " + mode + " /v/f; cat /v/f; stat -c '%a %u' /v/f; stat -c 'dir %a' /v; grep ' /v ' /proc/mounts | cut -d' ' -f3",
					want:   []string{`^content$`, "^" + mode[1:] + " " + user + "$", `^dir 777$`, medium.kind}})
			}
		}
	}
	return append(rows,
		volumeRow{ids: "fsGroup", volume: "emptyDir: {}", pod: grouped, script: "touch /v/f; stat -c '%a %g' /v; stat -c %g /v/f", want: []string{`^2777 1001$`, `^1001$`}},
		volumeRow{ids: "size", volume: "emptyDir: {medium: Memory, sizeLimit: 1Mi}", script: "dd if=/dev/zero of=/v/f bs=1M count=2 2>&1; grep ' /v ' /proc/mounts",
			want: []string{`No space left on device`, `size=1024k`}},
		volumeRow{ids: "size of the pod", volume: "emptyDir: {medium: Memory, sizeLimit: 1Gi}", more: limitsOf, script: "grep ' /v ' /proc/mounts", want: []string{`size=65536k`}},
	)
}

func otherRows() []volumeRow {
	const all = "projected: {sources: [{secret: {name: sec, items: [{key: data-1, path: s}]}}, {configMap: {name: cm, items: [{key: data-2, path: c}]}}, " +
		"{downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}, {serviceAccountToken: {path: t, expirationSeconds: 7200}}]}"
	return []volumeRow{
		{ids: "ST005", volume: "configMap: {name: cm}", script: "sha256sum /v/dump.bin", want: []string{`^97b7f89583f47c9a45bd042da98c97b135b562fb02df2bccae9de8c8a80cb8fb `}},
		{ids: "ST046", volume: all, script: "cat /v/s /v/c /v/name; stat -L -c '%n %a' /v/t; grep ' /v ' /proc/mounts", want: []string{`value-1value-2row-`, `/v/t 644$`, `tmpfs /v tmpfs ro`}},
		{ids: "token of a user", volume: all, pod: grouped, script: "stat -L -c '%a %u %g' /v/t; wc -c </v/t", want: []string{`^640 1000 1001$`, `^\d{3,}$`}},
		{ids: "ST013 ST054", volume: "configMap: {name: cm}}, {name: w, projected: {sources: [{configMap: {name: cm}}]}", more: twice, script: "cat /v/data-1 /w/data-1", want: []string{`value-1value-1`}},
		{ids: "ST073 ST081", volume: "secret: {secretName: sec}}, {name: w, projected: {sources: [{secret: {name: sec}}]}", more: twice, script: "cat /v/data-1 /w/data-1", want: []string{`value-1value-1`}},
		{ids: "ST084", volume: "configMap: {name: cm}", mount: "subPath: data-1", script: "cat /v", want: []string{`^value-1$`}},
		{ids: "ST086", volume: "downwardAPI: {items: [{path: d/x, fieldRef: {fieldPath: metadata.name}}]}", mount: "subPath: d/x", script: "cat /v", want: []string{`^row-`}},
		{ids: "ST087", volume: all, mount: "subPath: c", script: "cat /v", want: []string{`^value-2$`}},
		{ids: "ST088", volume: "secret: {secretName: sec}", mount: "subPath: data-1", script: "cat /v", want: []string{`^value-1$`}},
		{ids: "ST085", volume: "configMap: {name: cm}", more: "volumeMounts: [{name: v, mountPath: /etc/passwd, subPath: data-1}]", script: "cat /etc/passwd", want: []string{`^value-1$`}},
		{ids: "optional, absent", volume: "configMap: {name: nobody, optional: true}", script: "ls -A /v | wc -l", want: []string{`^\d$`}},
		{ids: "optional key", volume: "secret: {secretName: sec, optional: true, items: [{key: none, path: x1}, {key: data-2, path: x2}]}", script: "ls /v", want: []string{`\Ax2\n\z`}},
		{ids: "image", volume: "image: {reference: busybox, pullPolicy: IfNotPresent}",
			script: "cat /v/etc/passwd | head -n 1; touch /v/x 2>&1; /v/bin/busybox true 2>&1; ls -l /v/bin/busybox", want: []string{`^root:`, `Read-only file system`, `Permission denied`}},
		{ids: "image, subPath", volume: "image: {reference: busybox, pullPolicy: IfNotPresent}", mount: "subPath: etc", script: "ls /v", want: []string{`^passwd$`}},
		{ids: "subPath of a directory to be", volume: "emptyDir: {}", mount: "subPath: x/y", pod: nonRoot, script: "touch /v/f && ls /v", want: []string{`^f$`}},

		{ids: "ST015", change: true, volume: "configMap: {name: changing}", script: "until grep -q value-2 /v/data-1; do sleep 0.2; done; ls /v", want: []string{`\Adata-1\ndata-2\n\z`}},
		{ids: "ST055", change: true, volume: "projected: {sources: [{configMap: {name: changing}}]}", script: "until grep -q value-2 /v/data-1; do sleep 0.2; done; ls /v", want: []string{`\Adata-1\ndata-2\n\z`}},
		{ids: "ST006 ST047", change: true, volume: "configMap: {name: later, optional: true}", script: "until grep -q here /v/data-1; do sleep 0.2; done; echo seen", want: []string{`^seen$`}},
		{ids: "ST067 ST074", change: true, volume: "projected: {sources: [{secret: {name: later, optional: true}}]}", script: "until grep -q here /v/data-1; do sleep 0.2; done; echo seen", want: []string{`^seen$`}},
		{ids: "ST006 deletion", change: true, volume: "configMap: {name: doomed, optional: true}", script: "cat /v/data-1; while [ -e /v/data-1 ]; do sleep 0.2; done; ls -A /v/..data/ | wc -l", want: []string{`value-10`}},
		{ids: "ST074 deletion", change: true, volume: "secret: {secretName: doomed, optional: true}", script: "cat /v/data-1; while [ -e /v/data-1 ]; do sleep 0.2; done; ls -A /v/..data/ | wc -l", want: []string{`value-10`}},
		{ids: "ST074 update", change: true, volume: "secret: {secretName: changing}", script: "until grep -q value-2 /v/data-1; do sleep 0.2; done; echo seen", want: []string{`^seen$`}},
		{ids: "ST025 ST065", change: true, volume: "downwardAPI: {items: [{path: x, fieldRef: {fieldPath: metadata.annotations}}]}",
			script: "until grep -q 'round=\"2\"' /v/x; do sleep 0.2; done; echo seen", want: []string{`^seen$`}},
		{ids: "ST026 ST066", change: true, volume: "projected: {sources: [{downwardAPI: {items: [{path: x, fieldRef: {fieldPath: metadata.labels}}]}}]}",
			script: "until grep -q 'round=\"2\"' /v/x; do sleep 0.2; done; echo seen", want: []string{`^seen$`}},
	}
}

func (r *volumeRow) yaml(name string) string {
	mount, script := "{name: v, mountPath: /v", fmt.Sprintf("%q", r.script)
	if r.mount != "" {
		mount += ", " + r.mount
	}
	more := r.more
	if !strings.Contains(more, "volumeMounts") {
		more = "volumeMounts: [" + mount + "}]\n    " + more
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {change: %q}, annotations: {round: "1"}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  %s
  volumes: [{name: v, %s}]
  containers:
  - name: c
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, %s]
    %s
`, name, fmt.Sprint(r.change), r.pod, r.volume, script, more)
}

// TestVolumeRows covers ST005 to ST041, ST046 to ST088 of the conformance list, one pod each.
func TestVolumeRows(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	// ST075: one of the same name elsewhere is another.
	l.Kubectl(l.MakeNamespace(t)).Must(t, "create", "secret", "generic", "sec", "--from-literal=data-1=stranger")
	k.In(volumeObjects).Must(t, "apply", "-f", "-")
	var rows []volumeRow
	for _, list := range [][]volumeRow{projectionRows(), downwardRows(), emptyDirRows(), otherRows()} {
		rows = append(rows, list...)
	}
	var all strings.Builder
	for i := range rows {
		all.WriteString(rows[i].yaml(fmt.Sprintf("row-%d", i)))
	}
	k.In(all.String()).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod", "-l", "change=true", "--timeout=60s")
	for _, kind := range []string{"configmap", "secret"} {
		field := map[string]string{"configmap": "data", "secret": "stringData"}[kind]
		k.Must(t, "patch", kind, "changing", "-p", `{"`+field+`":{"data-1":"value-2","data-2":"new"}}`)
		k.Must(t, "delete", kind, "doomed")
	}
	k.Must(t, "create", "configmap", "later", "--from-literal=data-1=here")
	k.Must(t, "create", "secret", "generic", "later", "--from-literal=data-1=here")
	k.Must(t, "label", "pod", "-l", "change=true", "round=2")
	k.Must(t, "annotate", "pod", "-l", "change=true", "--overwrite", "round=2")
	for i := range rows {
		checkRow(t, l, k, fmt.Sprintf("row-%d", i), &rows[i])
	}
}

func checkRow(t *testing.T, l *kit.Lab, k kit.Kubectl, name string, r *volumeRow) {
	t.Helper()
	pods := l.Client(t, "").CoreV1().Pods(k.Namespace)
	deadline := time.Now().Add(volumeLimit)
	for {
		p, err := pods.Get(context.Background(), name, metav1.GetOptions{})
		if err == nil && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed) {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%s (%s) does not end: %v\n%s", name, r.ids, err, k.Must(t, "describe", "pod", name))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, err := pods.GetLogs(name, &corev1.PodLogOptions{}).DoRaw(context.Background())
	for _, e := range r.want {
		if why := kit.Matches(string(log), e); why != nil || err != nil {
			t.Errorf("%s (%s, %s): %v %v", name, r.ids, r.volume, why, err)
		}
	}
}
