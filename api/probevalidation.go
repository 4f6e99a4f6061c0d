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
		if l.StopSignal != nil {
			errs = append(errs, validateStopSignal(*l.StopSignal, s.OS, path.Child("lifecycle", "stopSignal"))...)
		}
	}
	return errs
}

// validateStopSignal: which signals there are depends on the operating system, so the pod must name it.
func validateStopSignal(sig corev1.Signal, os *corev1.PodOS, path *field.Path) field.ErrorList {
	switch {
	case os == nil || os.Name == "":
		return field.ErrorList{field.Forbidden(path, "may not be set for containers with empty `spec.os.name`")}
	case os.Name == corev1.Windows:
		return oneOf(sig, path, corev1.SIGKILL, corev1.SIGTERM)
	}
	return oneOf(sig, path, linuxSignals()...)
}

// linuxSignals are the named ones and those that the kernel only counts, from both ends.
func linuxSignals() []corev1.Signal {
	list := []corev1.Signal{
		corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE, corev1.SIGHUP,
		corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE, corev1.SIGPOLL, corev1.SIGPROF,
		corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP,
		corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM,
		corev1.SIGWINCH, corev1.SIGXCPU, corev1.SIGXFSZ, corev1.SIGRTMIN, corev1.SIGRTMAX,
	}
	for i := 1; i <= realTimeSignalsHalf; i++ {
		list = append(list, corev1.Signal("SIGRTMIN+"+itoa(i)))
		if i < realTimeSignalsHalf {
			list = append(list, corev1.Signal("SIGRTMAX-"+itoa(i)))
		}
	}
	return list
}

// realTimeSignalsHalf is how far real-time signals are counted upwards; they are counted one less downwards.
const realTimeSignalsHalf = 15

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
