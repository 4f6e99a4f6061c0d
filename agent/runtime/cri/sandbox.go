package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// pod is a sandbox that the runtime holds for us.
type pod struct {
	// work is held for writing while the sandbox is made or removed, and for reading while a container is started in it.
	work sync.RWMutex

	mu      sync.Mutex
	id      string // the runtime's name of it; "" before it is made
	spec    runtime.SandboxSpec
	removed bool
}

func (p *pod) known() (id string, spec runtime.SandboxSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id, p.spec
}

func (p *pod) set(id string, spec runtime.SandboxSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.id, p.spec = id, spec
}

// podFor is the pod of a UID, made if it is not there.
func (e *Executor) podFor(uid string) *pod {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pods[uid]
	if p == nil {
		p = &pod{}
		e.pods[uid] = p
	}
	return p
}

func (e *Executor) findPod(uid string) (*pod, error) {
	e.mu.Lock()
	p := e.pods[uid]
	e.mu.Unlock()
	if p != nil {
		if id, _ := p.known(); id != "" {
			return p, nil
		}
	}
	return nil, fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
}

// StartSandbox implements runtime.Executor. What is left of a dead sandbox is removed first.
func (e *Executor) StartSandbox(ctx context.Context, spec runtime.SandboxSpec) (runtime.Sandbox, error) {
	p := e.podFor(spec.PodUID)
	p.work.Lock()
	defer p.work.Unlock()
	if p.removed {
		return runtime.Sandbox{}, fmt.Errorf("sandbox %s is being removed: try again", spec.PodUID)
	}
	if err := e.findLeftover(ctx, p, spec); err != nil {
		return runtime.Sandbox{}, err
	}
	if id, _ := p.known(); id != "" {
		sb, err := e.sandboxState(ctx, p)
		if err != nil || sb.NetNS != "" {
			return sb, err
		}
		if err := e.removeSandbox(ctx, p, spec.PodUID); err != nil {
			return runtime.Sandbox{}, fmt.Errorf("removing dead sandbox %s: %w", spec.PodUID, err)
		}
	}
	if err := e.makeSandbox(ctx, p, spec); err != nil {
		return runtime.Sandbox{}, fmt.Errorf("starting sandbox %s: %w", spec.PodUID, err)
	}
	return e.sandboxState(ctx, p)
}

// findLeftover takes up the sandbox of an earlier agent whose call to make it outlived it.
func (e *Executor) findLeftover(ctx context.Context, p *pod, spec runtime.SandboxSpec) error {
	if id, _ := p.known(); id != "" {
		return nil
	}
	ids, err := e.sandboxesOf(ctx, spec.PodUID)
	if err == nil && len(ids) > 0 {
		p.set(ids[0], spec)
	}
	return err
}

func (e *Executor) makeSandbox(ctx context.Context, p *pod, spec runtime.SandboxSpec) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cfg, err := e.sandboxConfig(spec)
	if err != nil {
		return err
	}
	if err := e.cgroups.Make(spec.PodUID, spec.Resources); err != nil {
		return err
	}
	call, cancel := unbroken(ctx)
	defer cancel()
	r, err := e.runtime.RunPodSandbox(call, &cri.RunPodSandboxRequest{Config: cfg, RuntimeHandler: spec.Handler})
	if err != nil {
		return errors.Join(err, e.unmake(ctx, p, spec.PodUID))
	}
	p.set(r.PodSandboxId, spec)
	return nil
}

// unbroken is for calls that make something. Runtimes leave things behind when such a call is broken off (containerd loses
// the process that it starts for each sandbox), so that it is better to wait for what nobody wants any more. As for a
// kubelet, what takes longer than makeTimeout is given up.
func unbroken(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), makeTimeout)
}

const makeTimeout = 4 * time.Minute

// unmake removes what came of a sandbox that could not be made: nobody else does, and its name would stay taken. If our
// caller has given up, the runtime may even have made it.
func (e *Executor) unmake(ctx context.Context, p *pod, uid string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	return e.removeSandbox(ctx, p, uid)
}

func (e *Executor) sandboxConfig(spec runtime.SandboxSpec) (*cri.PodSandboxConfig, error) {
	return sandboxConfig(spec, e.cfg.CgroupParent, e.cgroups.Path(spec.PodUID, ""))
}

// sandboxState asks the runtime. A sandbox that it has lost is a dead one.
func (e *Executor) sandboxState(ctx context.Context, p *pod) (runtime.Sandbox, error) {
	id, spec := p.known()
	out := runtime.Sandbox{PodUID: spec.PodUID, Namespace: spec.Namespace, Name: spec.Name}
	out.Containers = e.containersOf(spec.PodUID)
	r, err := e.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if absent(err) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("asking for sandbox %s: %w", spec.PodUID, err)
	}
	out.Created = time.Unix(0, r.Status.GetCreatedAt())
	if r.Status.GetState() != cri.PodSandboxState_SANDBOX_READY {
		return out, nil
	}
	pid := pidIn(r.Info)
	if pid == 0 {
		return out, errors.New("the runtime does not tell the process of a sandbox (verbose status): its version is not supported")
	}
	out.NetNS = fmt.Sprintf("/proc/%d/ns/net", pid)
	return out, nil
}

// pidIn reads the process from a verbose status: containerd and CRI-O both tell it there.
func pidIn(info map[string]string) int {
	var v struct {
		PID int `json:"pid"`
	}
	if json.Unmarshal([]byte(info["info"]), &v) != nil {
		return 0
	}
	return v.PID
}

// List implements runtime.Executor.
func (e *Executor) List(ctx context.Context) ([]runtime.Sandbox, error) {
	e.mu.Lock()
	pods := make([]*pod, 0, len(e.pods))
	for _, p := range e.pods {
		pods = append(pods, p)
	}
	e.mu.Unlock()
	out := make([]runtime.Sandbox, 0, len(pods))
	for _, p := range pods {
		if id, _ := p.known(); id == "" {
			continue
		}
		sb, err := e.sandboxState(ctx, p)
		if err != nil {
			return nil, err
		}
		out = append(out, sb)
	}
	e.out.Start()
	return out, nil
}

// RemoveSandbox implements runtime.Executor.
func (e *Executor) RemoveSandbox(ctx context.Context, uid string) error {
	p := e.podFor(uid)
	p.work.Lock()
	defer p.work.Unlock()
	if err := e.removeSandbox(ctx, p, uid); err != nil {
		return fmt.Errorf("removing sandbox %s: %w", uid, err)
	}
	p.removed = true // whoever waits for p.work must not make it anew in an entry that nobody finds
	e.mu.Lock()
	delete(e.pods, uid)
	e.mu.Unlock()
	return nil
}

// removeSandbox ends the containers, learns how they ended, and only then has the runtime forget them. It expects p.work.
func (e *Executor) removeSandbox(ctx context.Context, p *pod, uid string) error {
	ids, err := e.sandboxesOf(ctx, uid)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := e.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil && !absent(err) {
			return err
		}
	}
	for _, c := range e.entriesOf(uid) {
		if err := e.awaitEnd(ctx, c); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if _, err := e.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id}); err != nil && !absent(err) {
			return err
		}
	}
	for _, c := range e.entriesOf(uid) {
		e.forget(c)
	}
	_, spec := p.known()
	p.set("", spec)
	return e.cgroups.Remove(uid)
}

// sandboxesOf are the names of all sandboxes that the runtime holds of a pod: one, or what a call that broke off has left.
func (e *Executor) sandboxesOf(ctx context.Context, uid string) ([]string, error) {
	labels := e.ours()
	labels[labelUID] = uid
	r, err := e.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{LabelSelector: labels}})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range r.Items {
		out = append(out, s.Id)
	}
	return out, nil
}
