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
