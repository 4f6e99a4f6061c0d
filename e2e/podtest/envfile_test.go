package podtest

import (
	"testing"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// What an init container writes into a volume becomes the environment of another, which does not mount it; a variable that is missing, or a
// file in another form, is said.
func TestEnvironmentFromAFile(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	apply(t, k, `apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  restartPolicy: Never
  initContainers:
  - {name: write, image: peapod/demo, command: [sh, -c, "printf \"# made\\nADDRESS='db:5432'\\n\" > /data/env"], volumeMounts: [{name: config, mountPath: /data}]}
  containers:
  - name: c
    image: peapod/demo
    command: [sh, -c, "echo address=$ADDRESS other=$OTHER"]
    env:
    - {name: ADDRESS, valueFrom: {fileKeyRef: {volumeName: config, path: env, key: ADDRESS}}}
    - {name: OTHER, valueFrom: {fileKeyRef: {volumeName: config, path: env, key: OTHER, optional: true}}}
  volumes: [{name: config, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: peapod/demo
    env: [{name: ADDRESS, valueFrom: {fileKeyRef: {volumeName: config, path: env, key: ADDRESS}}}]
  volumes: [{name: config, emptyDir: {}}]
`)
	awaitField(t, k, "good", ".status.phase", "Succeeded")
	k.Want(t, "address=db:5432 other=\n", "logs", "good")
	wantEvent(t, l, k, "bad", "Failed", `Error: environment variable key "ADDRESS" not found in file "config/env"`)
	kit.WantMatch(t, k.Must(t, "get", "pod", "bad"), "CreateContainerConfigError")
}
