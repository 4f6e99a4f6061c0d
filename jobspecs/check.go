package jobspecs

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// readChecks makes a service's checks the readiness probe of the task that listens, and its
// check_restart the liveness probe.
func (g *group) readChecks(service *block, t *task, p port) {
	serviceRestart := service.one("check_restart")
	for _, c := range service.each("check") {
		probe := g.probe(c, p)
		if probe == nil {
			continue
		}
		target := t
		if name := c.text("task"); name != "" && name != t.name() {
			if target = g.taskNamed(c, name); target == nil {
				continue
			}
		}
		if target.prestart && !target.sidecar || g.job.typ == typeBatch {
			c.fault(c.at, "checks are for tasks that serve")
			continue
		}
		if target.container.ReadinessProbe != nil {
			c.fault(c.at, "task %q has a check already: a container has one; check what covers both", target.name())
			continue
		}
		target.container.ReadinessProbe = probe
		if restart := c.one("check_restart"); restart != nil {
			target.container.LivenessProbe = restart.liveness(probe)
		} else if serviceRestart != nil {
			target.container.LivenessProbe = serviceRestart.liveness(probe)
		}
	}
}

func (g *group) probe(c *block, p port) *corev1.Probe {
	if c.has("port") {
		var ok bool
		if p, ok = g.servicePort(c); !ok {
			return nil
		}
	}
	out := &corev1.Probe{}
	c.text("name")
	switch kind := c.text("type"); kind {
	case "http":
		out.HTTPGet = c.httpGet(p)
	case "tcp":
		out.TCPSocket = &corev1.TCPSocketAction{Port: target(p)}
	case "grpc":
		out.GRPC = &corev1.GRPCAction{Port: p.container}
		if s := c.text("grpc_service"); s != "" {
			out.GRPC.Service = &s
		}
		if c.truth("grpc_use_tls") {
			c.fault(c.where("grpc_use_tls"), "gRPC checks have no TLS: check with a tcp or a script")
		}
	case "script":
		command := c.text("command")
		if command == "" {
			c.fault(c.at, "a script check needs a command")
		}
		out.Exec = &corev1.ExecAction{Command: append([]string{command}, c.texts("args")...)}
	default:
		c.fault(c.where("type"), "a check's type must be http, tcp, grpc or script, not %q", kind)
		return nil
	}
	c.timing(out)
	return out
}

// target is the port by name where it has one.
func target(p port) intstr.IntOrString {
	if n := p.objectName(); n != "" {
		return intstr.FromString(n)
	}
	return intstr.FromInt32(p.container)
}

func (b *block) httpGet(p port) *corev1.HTTPGetAction {
	h := &corev1.HTTPGetAction{Path: b.text("path"), Port: target(p)}
	if h.Path == "" {
		b.fault(b.at, "an http check needs a path")
	}
	if strings.EqualFold(b.choice("protocol", "http", "https"), "https") {
		h.Scheme = corev1.URISchemeHTTPS // certificates are not verified, as with tls_skip_verify
	}
	if m := b.text("method"); m != "" && m != "GET" {
		b.fault(b.where("method"), "http checks are GET requests: use a script check for %s", m)
	}
	b.truth("tls_skip_verify")
	headers := b.headers()
	for _, name := range sortedKeys(headers) {
		for _, value := range headers[name] {
			h.HTTPHeaders = append(h.HTTPHeaders, corev1.HTTPHeader{Name: name, Value: value})
		}
	}
	return h
}

// headers are lists in Nomad, and may be single texts here.
func (b *block) headers() map[string][]string {
	out := map[string][]string{}
	for _, inner := range b.blocks {
		if inner.Type != "header" {
			continue
		}
		all, diags := inner.Body.JustAttributes()
		b.diags = append(b.diags, diags...)
		one := &block{reader: b.reader, at: inner.DefRange, attributes: all, scope: b.scope}
		for name := range all {
			out[name] = one.texts(name)
		}
	}
	return out
}

// timing takes the check's rhythm; Kubernetes counts in whole seconds.
func (b *block) timing(p *corev1.Probe) {
	whole := func(name string) int32 {
		d, ok := b.duration(name)
		if !ok {
			return 0
		}
		return int32(min(max(seconds(d), 1), 1<<30)) // #nosec G115 -- bounded
	}
	p.PeriodSeconds, p.TimeoutSeconds = whole("interval"), whole("timeout")
	if n, ok := b.number("success_before_passing", 0, 1<<20); ok && n > 0 {
		p.SuccessThreshold = int32(n) // #nosec G115 -- bounded
	}
	if n, ok := b.number("failures_before_critical", 0, 1<<20); ok && n > 0 {
		p.FailureThreshold = int32(n) // #nosec G115 -- bounded
	}
}

// liveness restarts the task after limit failures of the check, once grace is over; a limit of 0 never does.
func (b *block) liveness(readiness *corev1.Probe) *corev1.Probe {
	limit, _ := b.number("limit", 0, 1<<20)
	grace, _ := b.duration("grace")
	if limit == 0 {
		return nil
	}
	p := readiness.DeepCopy()
	p.SuccessThreshold = 0
	p.FailureThreshold = int32(limit)                         // #nosec G115 -- bounded
	p.InitialDelaySeconds = int32(min(seconds(grace), 1<<30)) // #nosec G115 -- bounded
	return p
}
