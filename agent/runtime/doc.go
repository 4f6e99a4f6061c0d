// Package runtime starts, watches and stops the containers of pods.
//
// Executor is the seam: the agent says what should run, fully resolved (environment expanded,
// mounts and layers as paths, numeric user), and an executor makes it so. runtime/oci is the
// embedded one (libcontainer); runtime/cri has containerd or CRI-O do it; runtime/sim has no processes,
// for nodes by the thousand. All pass the suite in runtime/runtimetest.
//
// It must not know: the API server, pods' desired state, restart policies, or how images are pulled.
package runtime
