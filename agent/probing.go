package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/probe"
)

// addProbes starts the probes whose time has come: startup first, the others once it has succeeded.
func (w *worker) addProbes(c *container) {
	if c.role == roleInit || c.stop != stopNone {
		return
	}
	add := func(kind probe.Kind, p *corev1.Probe) {
		if p != nil {
			w.a.prober.Add(probe.Target{
				PodUID: string(w.uid), Container: c.spec.Name, ContainerID: c.id, Kind: kind, Probe: p,
				Host: w.probeHost(), Ports: c.spec.Ports, Started: c.began, Good: kind == probe.Readiness && c.ready,
			})
		}
	}
	if !c.started {
		add(probe.Startup, c.spec.StartupProbe)
		return
	}
	add(probe.Liveness, c.spec.LivenessProbe)
	add(probe.Readiness, c.spec.ReadinessProbe)
}

func (w *worker) probeHost() string {
	if len(w.life.ips) == 0 && len(w.a.cfg.NodeIPs) > 0 {
		return w.a.cfg.NodeIPs[0].String()
	}
	return primary(w.life.ips)
}

// probed draws the conclusion of a probe's verdict.
func (w *worker) probed(ctx context.Context, r probe.Report, now time.Time) {
	c := w.life.find(r.Container)
	if c == nil || c.id != r.ContainerID || c.state != cRunning {
		return
	}
	if !r.OK {
		w.event(corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %s", r.Kind, r.Message), c)
	}
	if !r.Verdict {
		return
	}
	switch {
	case r.Kind == probe.Readiness:
		c.ready = r.OK
	case r.Kind == probe.Startup && r.OK:
		w.a.prober.Remove(string(w.uid), c.spec.Name, probe.Startup)
		c.started, c.ready = true, c.spec.ReadinessProbe == nil
		w.addProbes(c)
	case !r.OK && c.stop == stopNone && !w.life.ending():
		c.ready = false
		c.stop, c.deadline = stopAsked, now.Add(w.probeGrace(r.Grace))
		w.stop(ctx, c, fmt.Sprintf("Container %s failed %s probe, will be restarted", c.spec.Name, r.Kind.Lower()))
	}
}

func (w *worker) probeGrace(own *int64) time.Duration {
	if own != nil {
		return time.Duration(*own) * time.Second
	}
	return w.life.grace()
}
