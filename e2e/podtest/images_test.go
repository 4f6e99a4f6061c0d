package podtest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/e2e/kit"
	"github.com/peapod-sh/peapod/e2e/registry"
)

// imageLimit is how long anything may take on a busy machine; nothing here is timed.
const imageLimit = 60 * time.Second

// imageSpace gives a test a namespace of its own and kubectl in it.
func imageSpace(t *testing.T) (*kit.Lab, kit.Kubectl) {
	t.Helper()
	l := kit.Shared(t)
	return l, l.Kubectl(l.MakeNamespace(t))
}

// imagePod is a pod of one container that does nothing, with more fields of its spec and of the container.
func imagePod(name, image, podFields, containerFields string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
%s
  containers:
  - name: main
    image: %q
    command: [sleep, "3600"]
%s
`, name, imageIndent(podFields, 2), image, imageIndent(containerFields, 4))
}

func imageIndent(lines string, by int) string {
	if lines == "" {
		return ""
	}
	pad := strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(lines, "\n", "\n"+pad)
}

func imageWaiting(k kit.Kubectl, t *testing.T, pod string) corev1.ContainerStateWaiting {
	t.Helper()
	var p corev1.Pod
	if err := json.Unmarshal([]byte(k.Must(t, "get", "pod", pod, "-o", "json")), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
		return corev1.ContainerStateWaiting{}
	}
	return *p.Status.ContainerStatuses[0].State.Waiting
}

func imageWaits(t *testing.T, k kit.Kubectl, pod, reason, message string) {
	t.Helper()
	kit.Eventually(t, imageLimit, pod+" waits for "+reason, func() error {
		w := imageWaiting(k, t, pod)
		if err := kit.Matches(w.Reason, reason); err != nil {
			return fmt.Errorf("%w: %s", err, w.Message)
		}
		return kit.Matches(w.Message, message)
	})
}

func imageReady(t *testing.T, k kit.Kubectl, pods ...string) {
	t.Helper()
	for _, p := range pods {
		if r := k.Try("wait", "--for=condition=Ready", "--timeout=40s", "pod/"+p); r.Code != 0 {
			t.Fatalf("pod %s is not ready: %s\n%s", p, r.Err, k.Must(t, "describe", "pod", p))
		}
	}
}

func TestPullPoliciesAndEvents(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	k.In(imagePod("latest", "busybox", "nodeName: client1", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "latest")
	k.Want(t, "Always", "get", "pod", "latest", "-o", "jsonpath={.spec.containers[0].imagePullPolicy}")
	kit.Eventually(t, imageLimit, "the events of a pull", func() error {
		out := k.Must(t, "describe", "pod", "latest")
		for _, e := range []string{`Normal +Pulling +.*Pulling image "busybox"`,
			`Normal +Pulled +.*Successfully pulled image "busybox" in [0-9.]+m?s \([0-9.]+m?s including waiting\)\. Image size: [0-9]+ bytes\.`} {
			if err := kit.Matches(out, e); err != nil {
				return err
			}
		}
		return nil
	})
	k.In(imagePod("present", "busybox", "nodeName: client1", "imagePullPolicy: IfNotPresent")).Must(t, "apply", "-f", "-")
	k.In(imagePod("never", "busybox", "nodeName: client1", "imagePullPolicy: Never")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "present", "never")
	kit.Eventually(t, imageLimit, "the event of an image that is there", func() error {
		return kit.Matches(k.Must(t, "describe", "pod", "present"), `Normal +Pulled +.*Container image "busybox" already present on machine`)
	})
	k.In(imagePod("absent", "busybox:absent", "", "imagePullPolicy: Never")).Must(t, "apply", "-f", "-")
	imageWaits(t, k, "absent", "^ErrImageNeverPull$", `^Container image "busybox:absent" is not present with pull policy of Never$`)
}

func TestAlwaysAsksAndDownloadsNothing(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	reg := kit.Registry(t)
	pod := imagePod("NAME", "odd/zstd:1", "nodeName: client2", "imagePullPolicy: Always")
	k.In(strings.ReplaceAll(pod, "NAME", "one")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "one")
	k.Want(t, "from zstd\nfrom plain tar", "exec", "one", "--", "cat", "/zstd", "/plain")
	blobs, err := reg.Counts("GET", "/odd/zstd/blobs/")
	if err != nil {
		t.Fatal(err)
	}
	before, err := reg.Counts("/odd/zstd/manifests/")
	if err != nil {
		t.Fatal(err)
	}
	k.In(strings.ReplaceAll(pod, "NAME", "two")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "two")
	after, _ := reg.Counts("/odd/zstd/manifests/")
	if imageCount(after) <= imageCount(before) {
		t.Errorf("the registry was not asked again: %v, %v", before, after)
	}
	if again, _ := reg.Counts("GET", "/odd/zstd/blobs/"); imageCount(again) != imageCount(blobs) {
		t.Errorf("blobs were fetched again: %v, %v", blobs, again)
	}
}

func imageCount(counts map[string]int) int {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// dockerConfig is a secret for a registry.
func dockerConfig(t *testing.T, k kit.Kubectl, name, server, user, password string) {
	t.Helper()
	k.Must(t, "create", "secret", "docker-registry", name, "--docker-server="+server, "--docker-username="+user, "--docker-password="+password)
}

// TestPullSecrets: Invariant 29, on one node.
func TestPullSecrets(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	dockerConfig(t, k, "good", "https://index.docker.io/v1/", registry.User, registry.Password)
	dockerConfig(t, k, "bad", "docker.io/private", registry.User, "wrong")
	const here = "nodeName: client3\n"
	k.In(imagePod("nobody", "private/app:1", here, "")).Must(t, "apply", "-f", "-")
	k.In(imagePod("wrong", "private/app:1", here+"imagePullSecrets: [{name: bad}]", "")).Must(t, "apply", "-f", "-")
	imageWaits(t, k, "nobody", "^(ErrImagePull|ImagePullBackOff)$", `needs credentials \(imagePullSecrets\)`)
	imageWaits(t, k, "wrong", "^(ErrImagePull|ImagePullBackOff)$", `401`)
	k.In(imagePod("right", "private/app:1", here+"imagePullSecrets: [{name: bad}, {name: good}]", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "right")

	// The image is on the node now. Who has no credentials for it does not get it, with whatever policy.
	k.In(imagePod("thief", "private/app:1", here, "imagePullPolicy: IfNotPresent")).Must(t, "apply", "-f", "-")
	k.In(imagePod("quiet-thief", "private/app:1", here, "imagePullPolicy: Never")).Must(t, "apply", "-f", "-")
	imageWaits(t, k, "thief", "^(ErrImagePull|ImagePullBackOff)$", `needs credentials`)
	imageWaits(t, k, "quiet-thief", "^ErrImageNeverPull$", `no credentials that its registry has accepted`)
	k.In(imagePod("owner", "private/app:1", here+"imagePullSecrets: [{name: good}]", "imagePullPolicy: Never")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "owner")

	// A service account's secrets are its pods', and a secret that is missing is said.
	k.Must(t, "create", "serviceaccount", "puller")
	k.Must(t, "patch", "serviceaccount", "puller", "-p", `{"imagePullSecrets":[{"name":"good"},{"name":"lost"}]}`)
	k.In(imagePod("by-account", "private/app:2", here+"serviceAccountName: puller", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "by-account")
	kit.Eventually(t, imageLimit, "the event of a missing secret", func() error {
		return kit.Matches(k.Must(t, "describe", "pod", "by-account"), `FailedToRetrieveImagePullSecret +.*Unable to retrieve some image pull secrets \(lost\)`)
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	dockerConfig(t, k, "password", "tokens.example", registry.User, registry.Password)
	cfg := fmt.Sprintf(`{"auths":{"*.example":{"username":"<token>","identitytoken":%q}}}`, registry.IdentityToken)
	k.In(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: identity}\ntype: kubernetes.io/dockerconfigjson\ndata: {.dockerconfigjson: %s}\n",
		base64.StdEncoding.EncodeToString([]byte(cfg)))).Must(t, "apply", "-f", "-")
	old := fmt.Sprintf(`{"tokens.example":{"username":%q,"password":%q}}`, registry.User, registry.Password)
	k.In(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: old}\ntype: kubernetes.io/dockercfg\ndata: {.dockercfg: %s}\n",
		base64.StdEncoding.EncodeToString([]byte(old)))).Must(t, "apply", "-f", "-")
	for i, secret := range []string{"password", "identity", "old"} {
		k.In(imagePod(secret, "tokens.example/library/busybox:latest", fmt.Sprintf("nodeName: client%d\nimagePullSecrets: [{name: %s}]", i+1, secret), "")).Must(t, "apply", "-f", "-")
	}
	k.In(imagePod("none", "tokens.example/library/busybox:latest", "", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "password", "identity", "old")
	imageWaits(t, k, "none", "^(ErrImagePull|ImagePullBackOff)$", `needs credentials`)
}

func TestReasonsOfFailedPulls(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	for name, image := range map[string]string{
		"missing": "busybox:missing", "odd-name": "Busy Box", "closed": "127.0.0.1:1/a:1", "elsewhere": "odd/elsewhere:1", "foreign": "odd/foreign:1",
	} {
		k.In(imagePod(name, image, "", "")).Must(t, "apply", "-f", "-")
	}
	imageWaits(t, k, "missing", "^(ErrImagePull|ImagePullBackOff)$", `busybox:missing: check the name and the tag`)
	imageWaits(t, k, "odd-name", "^InvalidImageName$", `couldn't parse image name "Busy Box"`)
	imageWaits(t, k, "closed", "^(RegistryUnavailable|ImagePullBackOff)$", `127.0.0.1:1`)
	imageWaits(t, k, "elsewhere", "^(ErrImagePull|ImagePullBackOff)$", `this node needs linux/.*, there is plan9/mips`)
	imageWaits(t, k, "foreign", "^(ErrImagePull|ImagePullBackOff)$", `media type "application/vnd.oci.image.layer.v1.tar\+gzip\+encrypted", which this node cannot unpack`)
	imageWaits(t, k, "missing", "^ImagePullBackOff$", `^Back-off pulling image "busybox:missing": ErrImagePull: `)
	kit.Eventually(t, imageLimit, "the events of a failed pull", func() error {
		out := k.Must(t, "describe", "pod", "missing")
		for _, e := range []string{`Warning +Failed +.*Failed to pull image "busybox:missing": `, `Warning +Failed +.*Error: ErrImagePull`,
			`Normal +BackOff +.*Back-off pulling image "busybox:missing"`, `Warning +Failed +.*Error: ImagePullBackOff`} {
			if err := kit.Matches(out, e); err != nil {
				return err
			}
		}
		return kit.Matches(k.Must(t, "describe", "pod", "odd-name"), `Warning +InspectFailed +.*Failed to apply default image tag`)
	})
}

func TestNestedIndexAndDigests(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	k.In(imagePod("nested", "odd/nested:1", "nodeName: client1", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "nested")
	id := k.Must(t, "get", "pod", "nested", "-o", "jsonpath={.status.containerStatuses[0].imageID}")
	kit.WantMatch(t, id, `^docker.io/odd/nested@sha256:[0-9a-f]{64}$`)
	_, digest, _ := strings.Cut(id, "@")
	k.In(imagePod("by-digest", "odd/nested@"+digest, "nodeName: client2", "")).Must(t, "apply", "-f", "-")
	k.In(imagePod("by-both", "odd/nested:1@"+digest, "nodeName: client3", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "by-digest", "by-both")
	for _, pod := range []string{"by-digest", "by-both"} {
		k.Want(t, id, "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].imageID}")
	}
}

// TestFaultyRegistry has each kind of fault happen once, or a few times.
func TestFaultyRegistry(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	reg := kit.Registry(t)
	for _, f := range []registry.Fault{
		{Path: "/faulty/cut/blobs/", Times: 4, Cut: 1 << 20},
		{Path: "/faulty/flip/blobs/", Skip: 1, Times: 2},
		{Path: "/faulty/busy/manifests/", Times: 1, Status: 429, After: 1},
		{Path: "/faulty/busy/blobs/", Times: 3, Status: 503},
	} {
		if err := reg.Break(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"cut", "flip", "busy"} {
		k.In(imagePod(name, "faulty/"+name+":1", "", "")).Must(t, "apply", "-f", "-")
	}
	imageReady(t, k, "cut", "flip", "busy")
	for _, name := range []string{"cut", "busy"} { // a document that arrives wrong fails the pull, which is tried again
		if out := k.Must(t, "describe", "pod", name); strings.Contains(out, "Failed to pull") {
			t.Errorf("%s failed at first:\n%s", name, out)
		}
	}
}

func TestImageConfigIsHonoured(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	k.In("apiVersion: v1\nkind: Pod\nmetadata: {name: config}\nspec: {restartPolicy: Never, containers: [{name: main, image: 'odd/config:1'}]}\n").Must(t, "apply", "-f", "-")
	imageReady(t, k, "config")
	kit.Eventually(t, imageLimit, "what the image's command prints", func() error {
		return kit.Matches(k.Try("logs", "config").Out, `^blue in /made/for/it as www-data:nogroup$`)
	})
	if r := k.Try("exec", "config", "--", "test", "-e", "/data"); r.Code == 0 {
		t.Error("the image's volume was made")
	}
	// The same with what a container may say against it.
	k.In(`apiVersion: v1
kind: Pod
metadata: {name: against}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: 'odd/config:1', args: ['echo "$COLOUR in $PWD as $(id -u)"'], workingDir: /tmp, env: [{name: COLOUR, value: red}], securityContext: {runAsUser: 5}}
`).Must(t, "apply", "-f", "-")
	kit.Eventually(t, imageLimit, "what the container prints", func() error {
		return kit.Matches(k.Try("logs", "against").Out, `^red in /tmp as 5$`)
	})
	follow := k.Command(t.Context(), "logs", "-f", "config")
	logs, err := follow.StdoutPipe()
	if err == nil {
		err = follow.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(logs)
	if first, err := lines.ReadString('\n'); err != nil {
		t.Fatalf("following the log: %q %v", first, err)
	}
	k.Must(t, "delete", "pod", "config")
	got, _ := io.ReadAll(lines) // what is missing shows below
	if _ = follow.Wait(); !strings.Contains(string(got), "stopped by USR1") {
		t.Errorf("the image's stop signal did not arrive: %q", got)
	}
}

func TestFilesOfAnImage(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	k.In(imagePod("files", "odd/files:1", "", "")).Must(t, "apply", "-f", "-")
	k.In(imagePod("many", "odd/layers:127", "", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "files", "many")
	for script, want := range map[string]string{
		"ls /old /opaque":                          "/old:\nb\n\n/opaque:\nabove",
		"test -e /gone || echo gone":               "gone",
		"stat -c '%a %u:%g %h' /big /twice /suid":  "644 100000:200000 2\n600 0:0 1\n4755 0:0 1",
		"cat /hard; echo; cat /long/n*":            "x\nlong",
		"stat -c '%F %t:%T' /null; echo x > /null": "character special file 1:3",
		"head -n1 /out":                            "root:x:0:0:root:/root:/bin/sh",
		"wc -c < /empty":                           "0",
	} {
		k.Want(t, want, "exec", "files", "--", "sh", "-c", script)
	}
	k.Want(t, "126", "exec", "many", "--", "sh", "-c", "ls -d /layer-* /dir-* | wc -l")
}

// TestOnePullServesTheLab has all nodes pull an image at once: the registry gives each layer once.
func TestOnePullServesTheLab(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	reg := kit.Registry(t)
	var all string
	for i := 1; i <= 3; i++ {
		all += "---\n" + imagePod(fmt.Sprint("pod", i), "odd/big:2", fmt.Sprintf("nodeName: client%d", i), "")
	}
	k.In(all).Must(t, "apply", "-f", "-")
	imageReady(t, k, "pod1", "pod2", "pod3")
	counts, err := reg.Counts("GET", "/odd/big/blobs/")
	if err != nil {
		t.Fatal(err)
	}
	layers, documents := 0, 0
	for _, n := range counts {
		switch n {
		case 1:
			layers++
		case 3:
			documents++ // the configuration, by each node
		default:
			t.Errorf("a blob was fetched %d times: %v", n, counts)
		}
	}
	if layers < 3 || documents != 1 {
		t.Errorf("the registry gave %v", counts)
	}
}

// TestAgentKilledWhilePulling: the next agent goes on with the layers where the killed one was.
// It runs before the parallel tests, whose counts of requests it would spoil.
func TestAgentKilledWhilePulling(t *testing.T) {
	l, k := imageSpace(t)
	reg := kit.Registry(t)
	if err := reg.Break(registry.Fault{Path: "/faulty/slow/blobs/", Skip: 1, Times: 30, Cut: 300_000}); err != nil {
		t.Fatal(err)
	}
	k.In(imagePod("slow", "faulty/slow:1", "nodeName: client2", "")).Must(t, "apply", "-f", "-")
	kit.Eventually(t, imageLimit, "the pull is under way", func() error {
		counts, err := reg.Counts("RANGE", "/faulty/slow/blobs/")
		if err == nil && imageCount(counts) < 3 {
			err = fmt.Errorf("%v", counts)
		}
		return err
	})
	l.Do(t, "kill-agent", "client2")
	before, err := reg.Counts("GET", "/faulty/slow/blobs/")
	if err != nil {
		t.Fatal(err)
	}
	l.Do(t, "restart", "client2")
	imageReady(t, k, "slow")
	after, err := reg.Counts("GET", "/faulty/slow/blobs/")
	if err != nil {
		t.Fatal(err)
	}
	ranges, _ := reg.Counts("RANGE", "/faulty/slow/blobs/")
	t.Logf("requests: %v before the kill, %v in all, of which with a range %v", before, after, ranges)
	if whole := imageCount(after) - imageCount(ranges); whole > 3+2+3 { // each layer once, the configuration twice; layers that had not begun
		t.Errorf("%d requests asked for a whole blob", whole)
	}
}

func TestPruneAndRemoveKeepWhatPodsUse(t *testing.T) {
	t.Parallel()
	l, k := imageSpace(t)
	image := func(args ...string) (string, error) {
		out, err := exec.Command(kit.Peapod(), append(append([]string{"image"}, args...), "--data-dir", filepath.Join(l.Dir, "client3", "data"))...).CombinedOutput()
		return string(out), err
	}
	k.In(imagePod("user", "faulty/app:1", "nodeName: client3", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "user")
	if out, err := image("pull", "faulty/unused:1"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	id := k.Must(t, "get", "pod", "user", "-o", "jsonpath={.status.containerStatuses[0].imageID}")
	if out, err := image("rm", id[strings.Index(id, "sha256:"):]); err == nil || !strings.Contains(out, "in use") {
		t.Errorf("removing an image in use: %v: %s", err, out)
	}
	if out, err := image("prune"); err != nil || !strings.HasPrefix(out, "removed ") {
		t.Errorf("prune: %v: %s", err, out)
	}
	out, err := image("list")
	if err != nil || strings.Contains(out, "faulty/unused") || !strings.Contains(out, "faulty/app") || !strings.Contains(out, "peapod/demo") {
		t.Errorf("after prune there are (%v):\n%s", err, out)
	}
}

func TestNodeListsItsImages(t *testing.T) {
	t.Parallel()
	_, k := imageSpace(t)
	k.In(imagePod("one", "odd/big:1", "nodeName: client1", "")).Must(t, "apply", "-f", "-")
	imageReady(t, k, "one")
	kit.Eventually(t, imageLimit, "the Node object lists the image", func() error {
		out := k.Must(t, "get", "node", "client1", "-o", `jsonpath={range .status.images[*]}{.names} {.sizeBytes}{"\n"}{end}`)
		return kit.Matches(out, `\["docker.io/odd/big@sha256:[0-9a-f]{64}","docker.io/odd/big:1"\] 1[0-9]{7}`)
	})
}
