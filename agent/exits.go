package agent

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func (w *worker) exited(x runtime.Container) {
	for _, c := range w.life.conts {
		if c.id != x.ID {
			continue
		}
		switch c.state {
		case cStarting:
			c.early = &x
		case cRunning:
			w.ended(c, x)
		}
		return
	}
}

func (w *worker) ended(c *container, x runtime.Container) {
	w.a.prober.RemoveContainer(string(w.uid), c.spec.Name)
	if cancel := w.hooks[c]; cancel != nil {
		cancel() // a preStop hook has nothing left to wait for
	}
	c.ended(x, w.terminationMessage(c, x))
	if c.rule() == corev1.ContainerRestartRuleActionRestartAllContainers && !w.life.ending() {
		w.life.restartAll = true
	}
	if c.role == roleMain || c.role == roleSidecar || !c.succeeded() {
		w.backOffEvent(c)
	}
	w.save()
}

// restartReason says why a container that runs is ended only to be started again.
func (l *life) restartReason(c *container) string {
	if l.restartAll {
		return "Container " + c.spec.Name + " will be restarted with all others of its pod"
	}
	return "Container " + c.spec.Name + " resize requires restart"
}

// backOffEvent says that a container will not be started again at once.
func (w *worker) backOffEvent(c *container) {
	if !w.life.ending() && c.restartable(w.life.policy()) && c.crash.Delay > backoffFirst {
		w.event(corev1.EventTypeWarning, "BackOff",
			fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.spec.Name, w.podTag()), c)
	}
}
