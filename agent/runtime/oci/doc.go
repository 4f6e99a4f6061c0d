// Package oci is the embedded container runtime: runtime.Executor on libcontainer.
//
// Main flow: StartSandbox starts a pause process that holds the pod's namespaces; StartContainer mounts
// an overlay of the image's layers, writes its intent down, lets libcontainer make the container, hands
// its log FIFOs to the supervisor and lets it run. A watcher hears of every end through pidfds, learns
// the exit code (from waitid for its own children, from the supervisor's journal for those of an earlier
// agent), writes it down, reaps and delivers. New reads back what an earlier agent left.
//
// On disk, below StateDir: pods/UID/pod.json and shm; containers/ID/container.json, the FIFOs, upper, work
// and rootfs; runc/ID, which is libcontainer's; mountpoints/HASH, the lowest layer of containers with these mounts;
// env/ID, in memory, the environments, which may hold secrets.
//
// It must not know: images, the API, desired state, networks beyond the namespace it hands out.
package oci
