package jobspecs

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// applyUpdate sets how a Deployment replaces its pods. The group's update block stands in place of the job's.
func (g *group) applyUpdate(d *appsv1.DeploymentSpec) {
	u := g.one("update")
	if u == nil {
		u = g.job.update
	}
	if u == nil {
		return
	}
	u.refuseCanaries()
	if n, ok := u.number("max_parallel", 0, groupCountMax); ok {
		d.Strategy = g.strategy(intstr.FromInt32(int32(n))) // #nosec G115 -- bounded by groupCountMax
	}
	if t, ok := u.duration("min_healthy_time"); ok {
		d.MinReadySeconds = int32(min(seconds(t), 1<<30)) // #nosec G115 -- bounded
	}
	name := "progress_deadline"
	deadline, ok := u.duration(name)
	if healthy, given := u.duration("healthy_deadline"); given && !ok {
		name, deadline, ok = "healthy_deadline", healthy, true
	}
	if !ok {
		return
	}
	s := int32(min(seconds(deadline), 1<<30)) // #nosec G115 -- bounded
	if s <= d.MinReadySeconds {
		u.fault(u.where(name), "%s must be longer than min_healthy_time", name)
	}
	d.ProgressDeadlineSeconds = &s
}

// strategy starts new pods before old ones stop, unless they hold ports of their node: then there may be no room for both.
func (g *group) strategy(parallel intstr.IntOrString) appsv1.DeploymentStrategy {
	if parallel.IntValue() == 0 { // Nomad: all at once
		return appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	none := intstr.FromInt32(0)
	surge, unavailable := &parallel, &none
	for _, p := range g.network.ports {
		if p.host != 0 {
			surge, unavailable = &none, &parallel
		}
	}
	return appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: surge, MaxUnavailable: unavailable},
	}
}

func (b *block) refuseCanaries() {
	if n, ok := b.number("canary", 0, groupCountMax); ok && n > 0 {
		b.fault(b.where("canary"), "canaries are not possible yet: max_parallel = 1 and min_healthy_time stop an update at its first bad pod")
	}
	for _, name := range []string{"auto_revert", "auto_promote"} {
		if b.truth(name) {
			b.fault(b.where(name), "%s is not possible yet: `peapod job revert` goes back to a version", name)
		}
	}
	if b.choice("health_check", "checks", "task_states", "manual") == "manual" {
		b.fault(b.where("health_check"), "pods are healthy when their checks pass; give the service a check")
	}
}

// dnsOption reads "ndots:2" or "rotate".
func dnsOption(text string) corev1.PodDNSConfigOption {
	name, value, found := strings.Cut(text, ":")
	o := corev1.PodDNSConfigOption{Name: name}
	if found {
		o.Value = &value
	}
	return o
}
