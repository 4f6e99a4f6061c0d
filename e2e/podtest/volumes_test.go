package podtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// volumeLimit is how long anything about volumes may take on a busy machine; nothing here is timed.
const volumeLimit = 60 * time.Second

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

// TestManyConfigMapVolumes: ST042, ST043.
func TestManyConfigMapVolumes(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	var objects, volumes, mounts strings.Builder
	for i := range 50 {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m%d}\ndata: {k: v%d}\n", i, i)
		fmt.Fprintf(&volumes, "  - {name: m%d, configMap: {name: m%d}}\n", i, i)
		fmt.Fprintf(&mounts, "    - {name: m%d, mountPath: /m/%d}\n", i, i)
	}
	for i := range 5 {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\nspec:\n  terminationGracePeriodSeconds: 1\n  volumes:\n%s"+
			"  containers:\n  - name: c\n    image: busybox\n    imagePullPolicy: IfNotPresent\n    command: [sleep, '1000']\n    volumeMounts:\n%s", i, volumes.String(), mounts.String())
	}
	k.In(objects.String()).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	k.Want(t, "v0v49", "exec", "p3", "--", "cat", "/m/0/k", "/m/49/k")
}

// TestMissingReferencesHeal: pods wait with Kubernetes' words for what is not there, and start once it is.
func TestMissingReferencesHeal(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	k.Must(t, "create", "configmap", "there", "--from-literal=k=v")
	k.In(sleeper("cm", "configMap: {name: gone}")+sleeper("sec", "secret: {secretName: gone}")+
		sleeper("key", "configMap: {name: there, items: [{key: absent, path: x}]}")).Must(t, "apply", "-f", "-")
	for pod, message := range map[string]string{
		"cm":  `MountVolume.SetUp failed for volume "v" : configmap "gone" not found`,
		"sec": `MountVolume.SetUp failed for volume "v" : secret "gone" not found`,
		"key": `MountVolume.SetUp failed for volume "v" : references non-existent config key: absent`,
	} {
		wantEvent(t, l, k, pod, "FailedMount", message)
		kit.WantMatch(t, k.Must(t, "get", "pod", pod), `^`+pod+` +0/1 +ContainerCreating +0`)
	}
	k.Must(t, "create", "configmap", "gone", "--from-literal=k=v")
	k.Must(t, "create", "secret", "generic", "gone", "--from-literal=k=v")
	k.Must(t, "patch", "configmap", "there", "-p", `{"data":{"absent":"now"}}`)
	k.Must(t, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
}

// sleeper is a pod that mounts one volume at /v.
func sleeper(name, volume string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, %s}]
  containers: [{name: c, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}]}]
`, name, volume)
}

func wantEvent(t *testing.T, l *kit.Lab, k kit.Kubectl, object, reason, message string) {
	t.Helper()
	kit.Eventually(t, volumeLimit, "event "+reason+" of "+object, func() error {
		namespace := k.Namespace
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		list, err := l.Client(t, "").CoreV1().Events(namespace).List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + object})
		if err != nil {
			return err
		}
		var said []string
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, message) {
				return nil
			}
			said = append(said, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("not among %q", said)
	})
}

// TestSubPathExpr: ND098 to ND102.
func TestSubPathExpr(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	pod := func(name, value, expr string) string {
		return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, annotations: {other: x}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: c
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "echo $PWD >/v/f; sleep 1000"]
    env: [{name: PART, %s}]
    volumeMounts: [{name: v, mountPath: /v, subPathExpr: "%s"}, {name: v, mountPath: /all}]
`, name, value, expr)
	}
	k.In(pod("good", "valueFrom: {fieldRef: {fieldPath: metadata.name}}", "x/$(PART)")+pod("absolute", "value: /tmp", "$(PART)")+
		pod("back", "value: ..", "$(PART)")+pod("heals", "valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['mine']\"}}", "$(PART)")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/good", "--timeout=60s")
	kit.Eventually(t, volumeLimit, "the file below its variable", func() error {
		r := k.Try("exec", "good", "--", "cat", "/all/x/good/f")
		return kit.Matches(r.Out+r.Err, `^/$`)
	})
	for name, message := range map[string]string{
		"absolute": "error SubPath `/tmp` must not be an absolute path",
		"back":     "unable to provision SubPath `..`: must not contain '..'",
		"heals":    "missing value for PART",
	} {
		wantEvent(t, l, k, name, "Failed", "Error: "+message)
		kit.WantMatch(t, k.Must(t, "get", "pod", name), `CreateContainerConfigError`)
	}
	k.Must(t, "annotate", "pod", "heals", "mine=here")
	k.Must(t, "wait", "--for=condition=Ready", "pod/heals", "--timeout=60s")
	k.Want(t, "here", "exec", "heals", "--", "ls", "/all")
	for _, sub := range []string{"/abs", "../up"} {
		spec := strings.Replace(sleeper("never", "emptyDir: {}"), "mountPath: /v", "mountPath: /v, subPath: "+sub, 1)
		kit.WantMatch(t, k.In(spec).Fail(t, "apply", "-f", "-"), `subPath: Invalid value`)
	}
}

func TestHostPathTypes(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	// A disk that cannot be written.
	sealed := filepath.Join(dir, "sealed")
	if err := os.Mkdir(sealed, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", sealed, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(sealed, unix.MNT_DETACH) })
	host := func(name, path, kind string) string {
		return sleeper(name, "hostPath: {path: "+path+", type: "+kind+"}")
	}
	k.In(host("none", dir+"/absent", "Directory")+host("notdir", dir+"/file", "Directory")+host("notfile", dir, "File")+host("socket", dir+"/file", "Socket")+
		host("block", "/dev/null", "BlockDevice")+host("char", dir+"/file", "CharDevice")+host("sealed", sealed+"/x", "DirectoryOrCreate")+
		host("made", dir+"/made", "DirectoryOrCreate")+host("empty", dir+"/empty", "FileOrCreate")+host("dir", dir, "Directory")+
		host("device", "/dev/null", "CharDevice")+host("any", dir, "''")).Must(t, "apply", "-f", "-")
	for pod, message := range map[string]string{
		"none": "hostPath type check failed: " + dir + "/absent is not a directory", "notdir": "/file is not a directory", "notfile": " is not a file",
		"socket": "is not a socket file", "block": "/dev/null is not a block device", "char": "is not a character device", "sealed": "read-only file system",
	} {
		wantEvent(t, l, k, pod, "FailedMount", message)
	}
	k.Must(t, "wait", "--for=condition=Ready", "pod/made", "pod/empty", "pod/dir", "pod/device", "pod/any", "--timeout=60s")
	k.Want(t, "text", "exec", "dir", "--", "cat", "/v/file")
	if err := unix.Mount("", sealed, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	k.Must(t, "wait", "--for=condition=Ready", "pod/sealed", "--timeout=60s")
}

func TestEmptyDirOverItsLimitEvicts(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	k.In(sleeper("greedy", "emptyDir: {sizeLimit: 1Mi}")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/greedy", "--timeout=60s")
	k.Must(t, "exec", "greedy", "--", "dd", "if=/dev/zero", "of=/v/f", "bs=1M", "count=3")
	wantEvent(t, l, k, "greedy", "Evicted", `Usage of EmptyDir volume "v" exceeds the limit "1Mi".`)
	kit.Eventually(t, volumeLimit, "the pod has failed", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "greedy", "-o", "jsonpath={.status.phase} {.status.reason} {.status.message}"),
			`^Failed Evicted Usage of EmptyDir volume "v" exceeds the limit "1Mi"\.`)
	})
}

// mountsOf are the mounts that the machine has for a pod's volumes.
func mountsOf(t *testing.T, uid string) (out []string) {
	t.Helper()
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if strings.Contains(line, "/node/pods/"+uid+"/") {
			out = append(out, strings.Fields(line)[1])
		}
	}
	return out
}

// TestMountsEndWithTheirPod, also when the agent was killed in between, and when the pod has ended by itself.
func TestMountsEndWithTheirPod(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	k.Must(t, "create", "secret", "generic", "s", "--from-literal=k=v")
	const volumes = "secret: {secretName: s}}, {name: m, emptyDir: {medium: Memory}}, {name: i, image: {reference: busybox, pullPolicy: IfNotPresent}"
	mountImage := func(pod string) string {
		return strings.ReplaceAll(pod, "mountPath: /v}", "mountPath: /v}, {name: i, mountPath: /i}")
	}
	k.In(mountImage(sleeper("long", volumes)+strings.NewReplacer(`"1000"`, `"0"`, "spec:", "spec:\n  restartPolicy: Never").Replace(sleeper("short", volumes)))).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/long", "--timeout=60s")
	k.Must(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/short", "--timeout=60s")
	var pods corev1.PodList
	if err := json.Unmarshal([]byte(k.Must(t, "get", "pods", "-o", "json")), &pods); err != nil {
		t.Fatal(err)
	}
	uid := map[string]string{}
	node := ""
	for _, p := range pods.Items {
		uid[p.Name] = string(p.UID)
		if p.Name == "long" {
			node = p.Spec.NodeName
		}
	}
	kit.Eventually(t, volumeLimit, "a pod that has ended lets its volumes go", func() error {
		if m := mountsOf(t, uid["short"]); len(m) > 0 {
			return fmt.Errorf("%q", m)
		}
		return nil
	})
	if m := mountsOf(t, uid["long"]); len(m) != 4 { // and the token
		t.Errorf("mounts: %q", m)
	}
	l.Do(t, "kill-agent", node)
	k.Must(t, "delete", "pod", "long", "--wait=false")
	l.Do(t, "restart", node)
	k.Must(t, "wait", "--for=delete", "pod/long", "--timeout=60s")
	kit.Eventually(t, volumeLimit, "nothing is mounted", func() error {
		if m := mountsOf(t, uid["long"]); len(m) > 0 {
			return fmt.Errorf("%q", m)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(l.Node(t, node).Dir, "data", "node", "pods", uid["long"])); err == nil {
		kit.Eventually(t, volumeLimit, "nothing is left on disk", func() error {
			_, err := os.Stat(filepath.Join(l.Node(t, node).Dir, "data", "node", "pods", uid["long"]))
			if os.IsNotExist(err) {
				return nil
			}
			return fmt.Errorf("it is there: %v", err)
		})
	}
}

// TestImageVolumeWaits: a volume whose image cannot be pulled is shown by the container that mounts it.
func TestImageVolumeWaits(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	k.In(sleeper("lacks", "image: {reference: busybox:missing}")).Must(t, "apply", "-f", "-")
	imageWaits(t, k, "lacks", "^ErrImagePull$", `busybox:missing: check the name and the tag`)
	imageWaits(t, k, "lacks", "^ImagePullBackOff$", `^Back-off pulling image "busybox:missing": ErrImagePull: `)
	wantEvent(t, l, k, "lacks", "Failed", `Failed to pull image "busybox:missing": `)
	kit.WantMatch(t, k.Must(t, "get", "pod", "lacks"), `0/1 +(ErrImagePull|ImagePullBackOff) +0`)
}

// TestImmutableObjects: ST014, ST082.
func TestImmutableObjects(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	for _, kind := range []string{"ConfigMap", "Secret"} {
		field := map[string]string{"ConfigMap": "data", "Secret": "stringData"}[kind]
		k.In("apiVersion: v1\nkind: "+kind+"\nmetadata: {name: fixed}\n"+field+": {k: v}\n").Must(t, "apply", "-f", "-")
		k.Must(t, "patch", kind, "fixed", "-p", `{"`+field+`":{"k":"w"}}`)
		k.Must(t, "patch", kind, "fixed", "-p", `{"immutable":true}`)
		kit.WantMatch(t, k.Fail(t, "patch", kind, "fixed", "-p", `{"`+field+`":{"k":"x"}}`), `data: Forbidden: field is immutable when .immutable. is set`)
		kit.WantMatch(t, k.Fail(t, "patch", kind, "fixed", "-p", `{"immutable":false}`), `immutable: Forbidden`)
		k.Must(t, "label", kind, "fixed", "a=b")
		k.In(strings.Replace(sleeper("of-"+strings.ToLower(kind), map[string]string{"ConfigMap": "configMap: {name: fixed}", "Secret": "secret: {secretName: fixed}"}[kind]),
			`"1000"`, `"0"`, 1)).Must(t, "apply", "-f", "-")
		kit.Eventually(t, volumeLimit, "a pod has used it", func() error {
			return kit.Matches(k.Must(t, "get", "pod", "of-"+strings.ToLower(kind)), `(Completed|CrashLoopBackOff|Running)`)
		})
		k.Must(t, "delete", kind, "fixed")
	}
}
