// Package agent lives the lives of a node's pods.
//
// The desired pods come in through Put, Remove and Synced, as a watch delivers them. Each pod has one
// owner goroutine (worker.go) that hears events: a new desired pod, the end of a container, a probe's
// verdict, the result of a job, the alarm it set itself. After every event it asks a pure state machine
// (life.go, stop.go) what is to be done, starts that as a job (jobs.go) that may block, computes the
// pod's status (status.go), and hands it to the one writer of the node (writer.go), which sends the
// statuses of many pods in one go.
//
// What must survive the agent is written under DataDir before it is acted upon (state.go); the rest is
// read back from the executor's List. So an agent may be killed and started at any time: running
// containers are adopted, counts, start times, back-offs and grace periods go on.
//
// Pods that must not run twice run under a lease of the cluster's leader (fencing.go); when it ends the executor stops them,
// whatever this process does.
//
// It must not know: Raft, the API server's wire protocol, how containers are isolated, how images are
// pulled or how packets flow. Those come in through ControlPlane, runtime.Executor, Images and Network.
package agent
