package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateProbes(c *corev1.Container, s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	liveness, readiness, startup := path.Child("livenessProbe"), path.Child("readinessProbe"), path.Child("startupProbe")
	errs = append(errs, validateProbe(c.LivenessProbe, liveness)...)
	errs = append(errs, validateProbe(c.ReadinessProbe, readiness)...)
	errs = append(errs, validateProbe(c.StartupProbe, startup)...)
	once := func(p *corev1.Probe, at *field.Path) {
		if p != nil && p.SuccessThreshold != 1 {
			errs = append(errs, field.Invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
		}
	}
	once(c.LivenessProbe, liveness)
	once(c.StartupProbe, startup)
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(readiness.Child("terminationGracePeriodSeconds"), p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	if l := c.Lifecycle; l != nil {
		grace := valueOf(s.TerminationGracePeriodSeconds)
		if l.PostStart != nil {
			errs = append(errs, validateHook(l.PostStart, grace, path.Child("lifecycle", "postStart"))...)
		}
		if l.PreStop != nil {
			errs = append(errs, validateHook(l.PreStop, grace, path.Child("lifecycle", "preStop"))...)
		}
	}
	return errs
}

func validateProbe(p *corev1.Probe, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateHandler(handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}, 0, path)
	number := func(n int32, name string) { errs = append(errs, nonnegative(int64(n), path.Child(name))...) }
	number(p.InitialDelaySeconds, "initialDelaySeconds")
	number(p.TimeoutSeconds, "timeoutSeconds")
	number(p.PeriodSeconds, "periodSeconds")
	number(p.SuccessThreshold, "successThreshold")
	number(p.FailureThreshold, "failureThreshold")
	if n := p.TerminationGracePeriodSeconds; n != nil && *n <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *n, "must be greater than 0"))
	}
	return errs
}

func validateHook(h *corev1.LifecycleHandler, grace int64, path *field.Path) field.ErrorList {
	return validateHandler(handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}, grace, path)
}

// handler is what a probe and a hook have in common.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

// validateHandler wants exactly one action; every further one is refused where it stands.
func validateHandler(h handler, grace int64, path *field.Path) (errs field.ErrorList) {
	n := 0
	action := func(set bool, name string, validate func(at *field.Path) field.ErrorList) {
		if !set {
			return
		}
		if n++; n > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
			return
		}
		errs = append(errs, validate(path.Child(name))...)
	}
	action(h.exec != nil, "exec", func(at *field.Path) field.ErrorList {
		if len(h.exec.Command) == 0 {
			return field.ErrorList{field.Required(at.Child("command"), "")}
		}
		return nil
	})
	action(h.http != nil, "httpGet", func(at *field.Path) field.ErrorList { return validateHTTPGet(h.http, at) })
	action(h.tcp != nil, "tcpSocket", func(at *field.Path) field.ErrorList { return validatePortRef(h.tcp.Port, at.Child("port")) })
	action(h.grpc != nil, "grpc", func(at *field.Path) field.ErrorList {
		return faults(at.Child("port"), h.grpc.Port, utilvalidation.IsValidPortNum(int(h.grpc.Port)))
	})
	action(h.sleep != nil, "sleep", func(at *field.Path) field.ErrorList {
		if h.sleep.Seconds < 0 || h.sleep.Seconds > grace {
			return field.ErrorList{field.Invalid(at, h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", grace))}
		}
		return nil
	})
	if n == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(a *corev1.HTTPGetAction, path *field.Path) (errs field.ErrorList) {
	if a.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, validatePortRef(a.Port, path.Child("port"))...)
	errs = append(errs, oneOf(a.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, h := range a.HTTPHeaders {
		errs = append(errs, faults(path.Child("httpHeaders"), h.Name, utilvalidation.IsHTTPHeaderName(h.Name))...)
	}
	return errs
}
