package nodehttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/usage"
)

// Node is what the handler asks of the agent. Pods are shared: read only.
type Node interface {
	Pods() []*corev1.Pod
	Pod(namespace, name string) *corev1.Pod
	LogFile(pod *corev1.Pod, container string, previous bool) (string, error)
	Exec(ctx context.Context, containerID string, spec runtime.ExecSpec) (exitCode int, err error)
	Usage() *usage.Meter
}

// New makes the handler.
func New(node Node) http.Handler {
	h := &handler{node}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", h.pods)
	mux.HandleFunc("GET /logs/{namespace}/{pod}/{container}", h.logs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", h.exec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", h.attach)
	mux.HandleFunc("GET /dial/{address}", h.dial)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/portforward/{namespace}/{pod}", h.portForward)
	h.usage(mux)
	return mux
}

type handler struct{ node Node }

func (h *handler) pods(w http.ResponseWriter, _ *http.Request) {
	var list corev1.PodList
	for _, p := range h.node.Pods() {
		list.Items = append(list.Items, *p)
	}
	sendProto(w, &list)
}

// pod finds the pod that a request names, or answers 404.
func (h *handler) pod(w http.ResponseWriter, r *http.Request) *corev1.Pod {
	p := h.node.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if p == nil {
		http.Error(w, fmt.Sprintf("pods %q not found on this node", r.PathValue("pod")), http.StatusNotFound)
	}
	return p
}

// running finds a running container's ID, or answers why there is none.
func (h *handler) running(w http.ResponseWriter, r *http.Request) (pod *corev1.Pod, id string) {
	p := h.pod(w, r)
	if p == nil {
		return nil, ""
	}
	name := r.PathValue("container")
	cs := containerStatus(p, name)
	switch {
	case cs == nil:
		http.Error(w, fmt.Sprintf("container %s is not valid for pod %s", name, p.Name), http.StatusBadRequest)
	case cs.State.Running == nil:
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusNotFound)
	default:
		return p, strings.TrimPrefix(cs.ContainerID, "peapod://")
	}
	return nil, ""
}

func containerStatus(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// flag reads a boolean parameter in either of the spellings in use: true and 1.
func flag(r *http.Request, names ...string) bool {
	for _, n := range names {
		if v := r.URL.Query().Get(n); v == "true" || v == "1" {
			return true
		}
	}
	return false
}
