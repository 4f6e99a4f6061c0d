package podtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// A node lives through what its pods and its disk do to it: processes without end stop at their pod's limit, a disk without room or that cannot be written says so in events and heals
// with the room. The lab is one of its own, since its node suffers.
func TestANodeInNeed(t *testing.T) {
	l := diskLab(t)
	k := l.Kubectl("default")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(k.Must(t, "describe", "pods"))
		}
	})
	apply(t, k, demoPod("witness", ""))
	ready(t, k, "witness")
	data := filepath.Join(l.Node(t, "client1").Dir, "data")
	for _, c := range []struct {
		name string
		run  func(t *testing.T, l *kit.Lab, k kit.Kubectl, data string)
	}{{"a fork bomb inside its limit", forkBomb}, {"a full disk", fullDisk}, {"a disk that cannot be written", readOnlyDisk}} {
		t.Run(c.name, func(t *testing.T) {
			before := agentPID(t, data)
			c.run(t, l, k, data)
			k.Want(t, "alive", "exec", "witness", "--", "echo", "alive")
			if after := agentPID(t, data); after != before {
				t.Errorf("the agent was %s and is %s", before, after)
			}
			awaitField(t, k, "witness", ".status.containerStatuses[0].restartCount", "^0$")
			kit.WantMatch(t, k.Must(t, "get", "node", "client1"), `client1 +Ready `)
		})
	}
}

// forkBomb makes processes until it may not, and goes on trying; then it is deleted with all of them.
func forkBomb(t *testing.T, l *kit.Lab, k kit.Kubectl, _ string) {
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: bomb}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: peapod/demo, command: [sh, -c, "while true; do sleep 1000 & done"], resources: {limits: {cpu: 100m}}}
`)
	awaitField(t, k, "bomb", ".status.phase", "^Running$")
	uid := k.Must(t, "get", "pod", "bomb", "-o", "jsonpath={.metadata.uid}")
	kit.Eventually(t, limit, "the limit is met", func() error {
		for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} { // v1, v2; which cgroup counts depends on the kernel
			for _, below := range []string{"pids.events", "*/pids.events"} {
				files, err := filepath.Glob(filepath.Join(root, l.Node(t, "client1").Cgroup, "pods/pods", uid, below))
				if err != nil {
					return err
				}
				for _, f := range files {
					if b, err := os.ReadFile(f); err == nil && !strings.HasPrefix(string(b), "max 0") {
						return nil
					}
				}
			}
		}
		return errors.New("nobody was refused a process")
	})
	k.Must(t, "delete", "pod", "bomb", "--timeout=60s")
}

// diskLab is a lab of one server and one client whose data is on a small disk.
func diskLab(t *testing.T) *kit.Lab {
	t.Helper()
	const name = "podtestdisk"
	disk, err := os.MkdirTemp("/tmp", "podtestdisk") // elsewhere: the lab unmounts what is in a node's own directory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmountAll(t, disk) }) // after the lab has ended
	l, err := kit.Up(kit.Options{Name: name, Servers: 1, Clients: 1, Args: []string{"--client-arg=--eviction-hard=", "--client-arg=--pod-max-pids=100"}})
	t.Cleanup(func() {
		if err := kit.Down(name); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Do(t, "kill", "client1")
	data := filepath.Join(l.Node(t, "client1").Dir, "data")
	if err := errors.Join(unix.Mount("tmpfs", disk, "tmpfs", 0, "size=300m"), os.Rename(data, data+".old"), os.Symlink(disk, data)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", data+".old/.", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.Do(t, "restart", "client1")
	return l
}

// unmountAll unmounts a directory and what is below it; nothing uses it any more.
func unmountAll(t *testing.T, dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir) {
			_ = unix.Unmount(f[4], unix.MNT_DETACH) // one that cannot go shows when the directory cannot
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

func demoPod(name, more string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: client1
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, configMap: {name: kube-root-ca.crt}}]
  containers: [{name: c, image: peapod/demo, imagePullPolicy: IfNotPresent, volumeMounts: [{name: v, mountPath: /v}]%s}]
`, name, more)
}

// agentPID is the process of the client's agent.
func agentPID(t *testing.T, data string) string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, f := range found {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte("\x00agent\x00")) && bytes.Contains(b, []byte(data)) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return strings.Join(pids, " ")
}

func fullDisk(t *testing.T, l *kit.Lab, k kit.Kubectl, data string) {
	ballast := filepath.Join(data, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(ballast)
	_, err = io.Copy(f, io.LimitReader(endless{}, 1<<30))
	if f.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	apply(t, k, demoPod("nospace", ""))
	wantEvent(t, l, k, "nospace", "FailedMount", "no space left on device")
	kit.WantMatch(t, k.Must(t, "get", "pod", "nospace"), `^nospace +0/1 +ContainerCreating +0`)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ready(t, k, "nospace")
	k.Must(t, "delete", "pod", "nospace")
}

// endless has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func readOnlyDisk(t *testing.T, l *kit.Lab, k kit.Kubectl, data string) {
	pods := filepath.Join(data, "node", "pods")
	if err := unix.Mount("tmpfs", pods, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	covered := true
	t.Cleanup(func() {
		if covered {
			_ = unix.Unmount(pods, unix.MNT_DETACH)
		}
	})
	apply(t, k, demoPod("sealed", ""))
	wantEvent(t, l, k, "sealed", "FailedMount", "read-only file system")
	if err := unix.Unmount(pods, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	covered = false
	ready(t, k, "sealed")
	k.Must(t, "delete", "pod", "sealed")
}
