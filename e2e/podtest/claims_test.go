package podtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

func claim(name, more string) string {
	if !strings.Contains(more, "accessModes") {
		more += ", accessModes: [ReadWriteOnce]"
	}
	return fmt.Sprintf("---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: %s}\nspec: {resources: {requests: {storage: 1Gi}}%s}\n", name, more)
}

func userOf(name, claim string) string {
	return sleeper(name, "persistentVolumeClaim: {claimName: "+claim+"}")
}

// field reads one field of an object.
func field(t *testing.T, k kit.Kubectl, object, path string) string {
	t.Helper()
	return strings.TrimSpace(k.Must(t, "get", object, "-o", "jsonpath={"+path+"}"))
}

func gone(path string) func() error {
	return func() error {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there: %v", path, err)
		}
		return nil
	}
}

// TestDefaultClassServesClaims: a claim that names no class waits for its pod, gets a directory where that runs, keeps its data for the
// next pod, which follows it, grows, and is removed, also by an agent that was killed.
func TestDefaultClassServesClaims(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	kit.WantMatch(t, k.Must(t, "get", "storageclass"), `^local-path \(default\) +peapod.sh/local-path +Delete +WaitForFirstConsumer +true`)
	k.In(claim("data", "")).Must(t, "apply", "-f", "-")
	kit.Eventually(t, volumeLimit, "what it waits for", func() error {
		return kit.Matches(k.Must(t, "describe", "pvc", "data"), `Normal +WaitForFirstConsumer +.*waiting for first consumer to be created before binding`)
	})
	k.In(userOf("one", "data")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
	k.Must(t, "exec", "one", "--", "sh", "-c", "echo kept >/v/f")
	volume, node := field(t, k, "pvc/data", ".spec.volumeName"), field(t, k, "pod/one", ".spec.nodeName")
	kit.WantMatch(t, k.Must(t, "get", "pvc", "data"), `^data +Bound +`+volume+` +1Gi +RWO +local-path `)
	kit.WantMatch(t, k.Must(t, "get", "pv", volume), `^`+volume+` +1Gi +RWO +Delete +Bound +`+k.Namespace+`/data +local-path `)
	kit.WantMatch(t, k.Must(t, "describe", "pvc", "data"), `Normal +ProvisioningSucceeded +.*Successfully provisioned volume `+volume, `selected-node: `+node)
	dir := field(t, k, "pv/"+volume, ".spec.local.path")
	if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(b) != "kept\n" {
		t.Errorf("%q, %v", b, err)
	}

	k.Must(t, "delete", "pod", "one")
	k.In(userOf("two", "data")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/two", "--timeout=60s")
	k.Want(t, "kept", "exec", "two", "--", "cat", "/v/f")
	if got := field(t, k, "pod/two", ".spec.nodeName"); got != node {
		t.Errorf("the data is on %s, its pod on %s", node, got)
	}
	k.In(strings.Replace(userOf("lost", "data"), "volumes:", "nodeSelector: {kubernetes.io/hostname: "+another(l, node)+"}\n  volumes:", 1)).Must(t, "apply", "-f", "-")
	wantEvent(t, l, k, "lost", "FailedScheduling", "1 node(s) had volume node affinity conflict")

	k.Must(t, "patch", "pvc", "data", "-p", `{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}`)
	kit.Eventually(t, volumeLimit, "the claim has grown", func() error {
		return kit.Matches(k.Must(t, "get", "pvc,pv", "data", "--ignore-not-found")+k.Must(t, "get", "pvc", "data"), `^data +Bound +\S+ +3Gi `)
	})

	k.Must(t, "delete", "pod", "two", "lost")
	l.Do(t, "kill-agent", node)
	k.Must(t, "delete", "pvc", "data")
	l.Do(t, "restart", node)
	kit.Eventually(t, volumeLimit, "the directory is removed", gone(dir))
	kit.Eventually(t, volumeLimit, "the volume is removed", func() error {
		return kit.Matches(k.Try("get", "pv", volume).Err, "NotFound")
	})
}

// another is a node of the lab that runs pods and is not this one.
func another(l *kit.Lab, node string) string {
	for _, n := range l.Nodes {
		if n.Role == "client" && n.Name != node {
			return n.Name
		}
	}
	return ""
}

// TestClaimsThatWait: pods say in the words of Kubernetes' scheduler why they wait for their claims, and claims why they are not bound.
func TestClaimsThatWait(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	k.In(claim("unbound", `, storageClassName: ""`)+claim("classless", ", storageClassName: nowhere")+claim("block", ", volumeMode: Block")+
		claim("wide", ", accessModes: [ReadWriteMany]")+userOf("a", "absent")+userOf("b", "unbound")+userOf("c", "wide")+
		strings.Replace(sleeper("d", "persistentVolumeClaim: {claimName: block}"), "volumeMounts: [{name: v, mountPath: /v}]", "volumeDevices: [{name: v, devicePath: /dev/x}]", 1)).
		Must(t, "apply", "-f", "-")
	for pod, message := range map[string]string{
		"a": `0/3 nodes are available: persistentvolumeclaim "absent" not found.`,
		"b": "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
		"c": "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.",
		"d": "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.",
	} {
		wantEvent(t, l, k, pod, "FailedScheduling", message+" preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.")
	}
	wantEvent(t, l, k, "unbound", "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	wantEvent(t, l, k, "classless", "ProvisioningFailed", `storageclass.storage.k8s.io "nowhere" not found`)
	wantEvent(t, l, k, "wide", "ProvisioningFailed", "access mode ReadWriteMany is not supported")
	wantEvent(t, l, k, "block", "ProvisioningFailed", "volumeMode Block is not supported")
	k.In(claim("absent", "")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/a", "--timeout=60s")
}

// TestVolumesOfPeople: local and hostPath volumes that somebody made; reclaim policies; groups; one pod at a time; expansion refused.
func TestVolumesOfPeople(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	dir, node := t.TempDir(), another(l, "")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("there\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pv := func(name, source, more string) string {
		mode := "ReadWriteOnce"
		if name == "local" {
			mode = "ReadWriteOncePod"
		}
		return fmt.Sprintf("---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {name: %s-%s, labels: {of: %s}}\nspec: {capacity: {storage: 5Gi}, "+
			"accessModes: [%s], storageClassName: by-hand-%s, %s%s}\n", k.Namespace, name, name, mode, k.Namespace, source, more)
	}
	on := ", nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [" + node + "]}]}]}}"
	t.Cleanup(func() {
		for _, name := range []string{"local", "host", "missing", "recycled"} {
			k.Try("delete", "pv", k.Namespace+"-"+name, "--wait=false")
		}
		k.Try("delete", "storageclass", "by-hand-"+k.Namespace)
	})
	k.In("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: by-hand-"+k.Namespace+"}\nprovisioner: kubernetes.io/no-provisioner\nvolumeBindingMode: WaitForFirstConsumer\n"+
		pv("local", "local: {path: "+dir+"}", on)+pv("host", "hostPath: {path: "+dir+"/host}", ", persistentVolumeReclaimPolicy: Delete")+
		pv("missing", "local: {path: "+dir+"/missing}", on)+pv("recycled", "hostPath: {path: "+dir+"/host}", ", persistentVolumeReclaimPolicy: Recycle")).Must(t, "apply", "-f", "-")
	wants := func(name, mode string) string {
		return claim(name, ", storageClassName: by-hand-"+k.Namespace+", selector: {matchLabels: {of: "+name+"}}, accessModes: ["+mode+"]")
	}
	k.In(wants("local", "ReadWriteOncePod")+wants("host", "ReadWriteOnce")+wants("missing", "ReadWriteOnce")+wants("recycled", "ReadWriteOnce")+
		strings.Replace(userOf("local", "local"), "volumes:", grouped+"\n  volumes:", 1)+userOf("host", "host")+userOf("missing", "missing")+userOf("recycled", "recycled")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/local", "pod/host", "--timeout=60s")
	k.Want(t, "there", "exec", "local", "--", "cat", "/v/old")
	k.Want(t, "660 1001\n2775 1001", "exec", "local", "--", "stat", "-c", "%a %g", "/v/old", "/v")
	if got := field(t, k, "pod/local", ".spec.nodeName"); got != node {
		t.Errorf("the volume is on %s, its pod on %s", node, got)
	}
	wantEvent(t, l, k, "missing", "FailedMount", `MountVolume.NewMounter initialization failed for volume "`+k.Namespace+`-missing" : path "`+dir+`/missing" does not exist`)
	if err := os.Mkdir(filepath.Join(dir, "missing"), 0o755); err != nil {
		t.Fatal(err)
	}
	k.Must(t, "wait", "--for=condition=Ready", "pod/missing", "--timeout=60s")
	k.In(userOf("second", "local")).Must(t, "apply", "-f", "-")
	wantEvent(t, l, k, "second", "FailedScheduling", "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")
	kit.WantMatch(t, k.Fail(t, "patch", "pvc", "host", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`), `only dynamically provisioned pvc can be resized`)

	k.Must(t, "delete", "pod", "--all")
	k.Must(t, "delete", "pvc", "--all")
	for name, want := range map[string]string{"local": "Retain +Released", "host": "Delete +Failed", "recycled": "Recycle +Failed"} {
		kit.Eventually(t, volumeLimit, "the end of "+name, func() error {
			return kit.Matches(k.Must(t, "get", "pv", k.Namespace+"-"+name), want)
		})
	}
	wantEvent(t, l, l.Kubectl(""), k.Namespace+"-recycled", "VolumeFailedRecycle", "No recycler plugin found for the volume!")
	if _, err := os.Stat(filepath.Join(dir, "old")); err != nil {
		t.Errorf("a retained file: %v", err)
	}
}

// TestEphemeralVolume: a claim of the pod's own comes and goes with it, and a claim of that name that is somebody else's is not touched.
func TestEphemeralVolume(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	const own = "ephemeral: {volumeClaimTemplate: {metadata: {labels: {a: b}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}"
	k.In(claim("two-v", "")+sleeper("one", own)+sleeper("two", own)).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
	k.Must(t, "exec", "one", "--", "touch", "/v/f")
	k.Want(t, "b Pod one true", "get", "pvc", "one-v", "-o", "jsonpath={.metadata.labels.a} {.metadata.ownerReferences[0].kind} {.metadata.ownerReferences[0].name} {.metadata.ownerReferences[0].controller}")
	dir := field(t, k, "pv/"+field(t, k, "pvc/one-v", ".spec.volumeName"), ".spec.local.path")
	wantEvent(t, l, k, "two", "FailedScheduling", "was not created for pod "+k.Namespace+"/two (pod is not owner)")
	k.Must(t, "delete", "pod", "one", "two")
	kit.Eventually(t, volumeLimit, "the claim goes", func() error { return kit.Matches(k.Try("get", "pvc", "one-v").Err, "NotFound") })
	kit.Eventually(t, volumeLimit, "the directory goes", gone(dir))
	k.Must(t, "get", "pvc", "two-v")
}

// TestRetainedAndEager: a class that keeps its volumes and makes them before their pods.
func TestRetainedAndEager(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	class := "kept-" + k.Namespace
	k.In("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: "+class+"}\nprovisioner: peapod.sh/local-path\nreclaimPolicy: Retain\nvolumeBindingMode: Immediate\n"+
		claim("data", ", storageClassName: "+class)).Must(t, "apply", "-f", "-")
	t.Cleanup(func() { k.Try("delete", "storageclass", class) })
	k.Must(t, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s")
	k.In(userOf("p", "data")).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=condition=Ready", "pod/p", "--timeout=60s")
	k.Must(t, "exec", "p", "--", "touch", "/v/f")
	volume := field(t, k, "pvc/data", ".spec.volumeName")
	dir := field(t, k, "pv/"+volume, ".spec.local.path")
	k.Must(t, "delete", "pod", "p")
	k.Must(t, "delete", "pvc", "data")
	kit.Eventually(t, volumeLimit, "released", func() error { return kit.Matches(k.Must(t, "get", "pv", volume), "Retain +Released") })
	k.Must(t, "delete", "pv", volume)
	if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
		t.Errorf("a retained file: %v", err)
	}
}

// TestStatusesAndCollections: ST044, ST045.
func TestStatusesAndCollections(t *testing.T) {
	t.Parallel()
	l := kit.Shared(t)
	k := l.Kubectl(l.MakeNamespace(t))
	name := k.Namespace + "-pv"
	t.Cleanup(func() { k.Try("delete", "pv", "-l", "test="+name, "--wait=false") })
	k.In(fmt.Sprintf("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: %s, labels: {test: %s}}\nspec: {capacity: {storage: 2Gi}, accessModes: [ReadWriteOnce], "+
		"hostPath: {path: /tmp/data}, storageClassName: %s}\n", name, name, name)+claim("data", ", storageClassName: "+name)).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s")
	k.Want(t, "2Gi", "get", "pvc", "data", "-o", "jsonpath={.status.capacity.storage}")
	condition := `{"status":{"conditions":[{"type":"Said","status":"True","reason":"E2E","message":"by a test"}]}}`
	k.Must(t, "patch", "pvc", "data", "--subresource=status", "-p", condition)
	k.Want(t, "E2E", "get", "pvc", "data", "--subresource=status", "-o", "jsonpath={.status.conditions[0].reason}")
	k.Must(t, "patch", "pv", name, "--subresource=status", "-p", `{"status":{"message":"said","reason":"E2E"}}`)
	k.Must(t, "label", "pv", name, "round=2")
	k.Want(t, "E2E said", "get", "pv", name, "--subresource=status", "-o", "jsonpath={.status.reason} {.status.message}")
	k.Must(t, "label", "pvc", "data", "a=b")
	k.Must(t, "delete", "pvc", "-l", "a=b")
	kit.Eventually(t, volumeLimit, "released", func() error {
		return kit.Matches(k.Must(t, "get", "pv", name), `Retain +Released +`+k.Namespace+`/data`)
	})
	// Freed by hand, it serves the next claim.
	k.Must(t, "patch", "pv", name, "--type=json", "-p", `[{"op":"remove","path":"/spec/claimRef"}]`)
	kit.Eventually(t, volumeLimit, "available", func() error { return kit.Matches(k.Must(t, "get", "pv", name), `Retain +Available`) })
	k.In(claim("next", ", storageClassName: "+name)).Must(t, "apply", "-f", "-")
	k.Must(t, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/next", "--timeout=60s")
	k.Must(t, "delete", "pvc", "--all")
	k.Must(t, "delete", "pv", "-l", "test="+name)
}
