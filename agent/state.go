package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// savedPod is a pod's state file: what neither the executor nor the API server is sure to know. It is
// written before what it says is done, and replaced as a whole; without it the agent falls back to those two.
type savedPod struct {
	Namespace, Name string
	StartTime       time.Time
	IP              string                      `json:",omitempty"` // read only: pods of an earlier release had one address
	IPs             []string                    `json:",omitempty"`
	Phase           corev1.PodPhase             `json:",omitempty"`
	DoomReason      string                      `json:",omitempty"`
	DoomMessage     string                      `json:",omitempty"`
	RestartAll      bool                        `json:",omitempty"`
	Framed          bool                        `json:",omitempty"`
	Guarded         bool                        `json:",omitempty"`
	Deadline        time.Time                   `json:",omitzero"`
	Allocated       corev1.ResourceRequirements `json:",omitzero"`
	Applied         corev1.ResourceRequirements `json:",omitzero"`
	Containers      map[string]savedContainer
}

type savedContainer struct {
	State     containerState
	Starts    int
	Base      int                              `json:",omitempty"`
	Image     string                           `json:",omitempty"`
	ImageID   string                           `json:",omitempty"`
	Crash     time.Duration                    `json:",omitempty"`
	NotBefore time.Time                        `json:",omitzero"`
	End       *corev1.ContainerStateTerminated `json:",omitempty"`
	Last      *corev1.ContainerStateTerminated `json:",omitempty"`
	User      *corev1.ContainerUser            `json:",omitempty"`
	Mounts    []corev1.VolumeMountStatus       `json:",omitempty"`
	Stop      stopStage                        `json:",omitempty"`
	Hooked    bool                             `json:",omitempty"`
	Deadline  time.Time                        `json:",omitzero"`
	Allocated corev1.ResourceRequirements      `json:",omitzero"`
	Applied   corev1.ResourceRequirements      `json:",omitzero"`
}

const (
	stateFile = "state.json"
	idPrefix  = "peapod://"
)

func trimID(id string) string {
	if len(id) > len(idPrefix) && id[:len(idPrefix)] == idPrefix {
		return id[len(idPrefix):]
	}
	return ""
}

func (w *worker) dir() string {
	if w.a.cfg.DataDir == "" {
		return ""
	}
	return filepath.Join(w.a.cfg.DataDir, "pods", string(w.uid))
}

// save writes the state file if it would say something else than before.
func (w *worker) save() {
	dir := w.dir()
	if dir == "" {
		return
	}
	b, err := json.Marshal(w.life.snapshot())
	if err != nil || string(b) == string(w.saved) {
		return
	}
	if err := replaceFile(dir, stateFile, b); err != nil {
		w.a.log.Error("writing a pod's state; an agent restart may forget it", "pod", w.podTag(), "error", err)
		return
	}
	w.saved = b
}

func replaceFile(dir, name string, b []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+name)
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}

// addresses are the pod's, whichever release wrote them.
func (s *savedPod) addresses() []string {
	if s.IP != "" && len(s.IPs) == 0 {
		return []string{s.IP}
	}
	return s.IPs
}

func (l *life) snapshot() savedPod {
	s := savedPod{
		Namespace: l.pod.Namespace, Name: l.pod.Name, StartTime: l.startTime, IPs: l.ips, Phase: l.phase,
		DoomReason: l.doomReason, DoomMessage: l.doomMessage, RestartAll: l.restartAll, Framed: l.framed, Guarded: l.guarded,
		Deadline:  l.deadline,
		Allocated: l.allocated, Applied: l.applied, Containers: map[string]savedContainer{},
	}
	for _, c := range l.conts {
		s.Containers[c.spec.Name] = savedContainer{
			State: c.state, Starts: c.starts, Base: c.base, Image: c.image, ImageID: c.imageID, Crash: c.crash.Delay, NotBefore: c.notBefore,
			End: c.end, Last: c.last, User: c.user, Mounts: c.mounts, Stop: c.stop, Hooked: c.hooked, Deadline: c.deadline,
			Allocated: c.allocated, Applied: c.applied,
		}
	}
	return s
}

// restore brings the life to where an earlier agent left it.
func (w *worker) restore(now time.Time) {
	l := w.life
	var saved savedPod
	b, err := os.ReadFile(filepath.Join(w.dir(), stateFile))
	hasState := w.dir() != "" && err == nil && json.Unmarshal(b, &saved) == nil
	if hasState {
		l.resume(saved)
	} else {
		l.recall()
	}
	l.adopt(w.found, now)
	if l.startTime.IsZero() {
		l.startTime = now.Truncate(time.Second)
		if t := l.pod.Status.StartTime; t != nil {
			l.startTime = t.Time
		}
	}
	w.admit()
	if l.guarded {
		w.a.fencing.claim(w.uid)
	}
	for _, c := range l.conts {
		w.resumeContainer(c)
	}
	if l.sandbox == sandboxReady {
		w.refresh = now
	}
	w.found = nil
}

// resumeContainer takes an adopted container's probes and its stop up again.
func (w *worker) resumeContainer(c *container) {
	if c.state != cRunning {
		return
	}
	if c.stop != stopNone {
		ctx, cancel := context.WithDeadline(w.a.ctx, c.deadline)
		w.hooks[c] = cancel
		job := w.jobStop(c)
		w.spawn(w.a.ctx, func(jobCtx context.Context) any { defer cancel(); return job(jobCtx, ctx) })
		c.stop = stopAsked
		return
	}
	w.addProbes(c)
}

// resume takes over a state file.
func (l *life) resume(s savedPod) {
	l.startTime, l.ips, l.phase, l.deadline = s.StartTime, s.addresses(), s.Phase, s.Deadline
	l.doomReason, l.doomMessage = s.DoomReason, s.DoomMessage
	l.allocated, l.applied, l.restartAll, l.framed, l.guarded = s.Allocated, s.Applied, s.RestartAll, s.Framed, s.Guarded
	for _, c := range l.conts {
		sc, ok := s.Containers[c.spec.Name]
		if !ok {
			continue
		}
		c.state, c.starts, c.base, c.image, c.imageID = sc.State, sc.Starts, sc.Base, sc.Image, sc.ImageID
		c.crash, c.notBefore, c.end, c.last = backoff{sc.Crash}, sc.NotBefore, sc.End, sc.Last
		c.user, c.mounts = sc.User, sc.Mounts
		c.stop, c.hooked, c.deadline = sc.Stop, sc.Hooked, sc.Deadline
		c.allocated, c.applied = sc.Allocated, sc.Applied
		if c.starts > 0 {
			c.id = containerID(l.pod.UID, c.spec.Name, c.starts-1)
		}
	}
	l.heed()
}

// recall takes over what the API server knows, where there is no state file.
func (l *life) recall() {
	st := &l.pod.Status
	if terminal(st.Phase) {
		l.phase, l.frozen = st.Phase, true
	}
	if st.StartTime != nil {
		l.startTime = st.StartTime.Time
	}
	for _, ip := range st.PodIPs {
		l.ips = append(l.ips, ip.IP)
	}
	for _, c := range l.conts {
		cs := findStatus(st, c.spec.Name)
		if cs == nil || cs.ContainerID == "" {
			continue
		}
		c.starts, c.image, c.imageID = int(cs.RestartCount)+1, c.spec.Image, cs.ImageID
		c.id = trimID(cs.ContainerID)
		if cs.Resources != nil {
			c.allocated.Requests, c.allocated.Limits = cs.AllocatedResources, cs.Resources.Limits
			c.applied = *cs.Resources
		}
		c.last = cs.LastTerminationState.Terminated
		c.state = cRunning
		if t := cs.State.Terminated; t != nil {
			c.state, c.end = cExited, t
		}
	}
}

func findStatus(st *corev1.PodStatus, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// adopt compares what should exist with what does: the executor is right about what runs.
func (l *life) adopt(sb *runtime.Sandbox, now time.Time) {
	alive := sb != nil && sb.NetNS != ""
	if sb != nil {
		l.sandbox = sandboxHalf
		if alive && (l.framed || len(sb.Containers) > 0) { // no container is started before its sandbox is whole
			l.sandbox, l.framed = sandboxReady, true
		}
		for _, x := range latest(sb.Containers) {
			if c := l.find(x.Name); c != nil {
				l.adoptContainer(c, x)
			}
		}
	}
	for _, c := range l.conts {
		exists := sb != nil && has(sb.Containers, c.id)
		switch {
		case exists:
		case c.state == cStarting: // only the intent was written
			c.unbegin()
		case c.state == cRunning:
			c.lost(now)
		}
	}
	if !alive && !l.ending() {
		l.restartFrame()
	}
}

// restartFrame prepares a pod whose sandbox is gone (the machine was restarted) to be started anew,
// init containers included.
func (l *life) restartFrame() {
	l.deadFrame, l.framed, l.ips = l.sandbox == sandboxHalf, false, nil
	for _, c := range l.conts {
		c.base = c.starts
		if c.role == roleInit && c.succeeded() {
			c.rewind()
			c.notBefore = time.Time{}
		}
	}
}

func (l *life) adoptContainer(c *container, x runtime.Container) {
	if c.state == cExited && c.id == x.ID && !x.Running {
		return // known already, with its message
	}
	c.id, c.starts = x.ID, x.Attempt+1
	if c.image == "" {
		c.image = c.spec.Image
	}
	stop, hooked, deadline := c.stop, c.hooked, c.deadline
	c.runs(x.Started)
	c.stop, c.hooked, c.deadline = stop, hooked, deadline
	if cs := findStatus(&l.pod.Status, c.spec.Name); cs != nil && trimID(cs.ContainerID) == x.ID {
		c.ready = c.ready || cs.Ready
		c.started = c.started || cs.Started != nil && *cs.Started
		if c.imageID == "" {
			c.imageID = cs.ImageID
		}
	}
	if !x.Running {
		c.ended(x, "")
	}
}

// latest keeps the newest start of each container.
func latest(list []runtime.Container) map[string]runtime.Container {
	out := map[string]runtime.Container{}
	for _, x := range list {
		if old, ok := out[x.Name]; !ok || x.Attempt > old.Attempt {
			out[x.Name] = x
		}
	}
	return out
}

func has(list []runtime.Container, id string) bool {
	for _, x := range list {
		if x.ID == id {
			return true
		}
	}
	return false
}

// orphanPod stands for a pod that only the executor knows.
func orphanPod(sb runtime.Sandbox) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: sb.Namespace, Name: sb.Name, UID: types.UID(sb.PodUID)},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever},
	}
	for name := range latest(sb.Containers) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name})
	}
	return p
}
