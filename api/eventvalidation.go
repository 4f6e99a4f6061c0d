package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateCoreEvent checks an event that is written as core/v1. Those with an eventTime are of the new
// shape and held to its rules; the old shape, in which most of the world still writes, has next to none.
func validateCoreEvent(e *corev1.Event) field.ErrorList {
	return validateEvent(e, "reportingComponent")
}

// validateEvent names the reporting controller as the version does in which the event was written.
func validateEvent(e *corev1.Event, reporter string) (errs field.ErrorList) {
	if !eventNamespaceFits(e) {
		errs = append(errs, field.Invalid(field.NewPath("involvedObject", "namespace"), e.InvolvedObject.Namespace, "does not match event.namespace"))
	}
	if !e.EventTime.IsZero() {
		errs = append(errs, validateEventShape(e, reporter)...)
	}
	return append(errs, faults(field.NewPath("namespace"), e.Namespace, utilvalidation.IsDNS1123Subdomain(e.Namespace))...)
}

// eventNamespaceFits: events of objects without a namespace live in "default", those of the new shape
// also in "kube-system". The new shape may tell elsewhere of an object that has one.
func eventNamespaceFits(e *corev1.Event) bool {
	old := e.EventTime.IsZero()
	if e.InvolvedObject.Namespace != "" {
		return !old || e.Namespace == e.InvolvedObject.Namespace
	}
	switch e.Namespace {
	case metav1.NamespaceDefault:
		return true
	case metav1.NamespaceNone:
		return old
	case metav1.NamespaceSystem:
		return !old
	}
	return false
}

func validateEventShape(e *corev1.Event, reporter string) (errs field.ErrorList) {
	require := func(name, value string) {
		if value == "" {
			errs = append(errs, field.Required(field.NewPath(name), ""))
		}
	}
	long := func(name, value string, most int) {
		if len(value) > most {
			errs = append(errs, field.Invalid(field.NewPath(name), "", "can have at most "+itoa(most)+" characters"))
		}
	}
	require(reporter, e.ReportingController)
	errs = append(errs, faults(field.NewPath(reporter), e.ReportingController, utilvalidation.IsQualifiedName(e.ReportingController))...)
	require("reportingInstance", e.ReportingInstance)
	long("reportingInstance", e.ReportingInstance, eventFieldBytesMax)
	require("action", e.Action)
	long("action", e.Action, eventFieldBytesMax)
	require("reason", e.Reason)
	long("reason", e.Reason, eventFieldBytesMax)
	long("message", e.Message, eventMessageBytesMax)
	return errs
}

// validateNewEvent checks an event that is written as events.k8s.io/v1: it must be of the new shape,
// and leave the fields of the old one alone.
func validateNewEvent(e *corev1.Event) field.ErrorList {
	errs := validateEvent(e, "reportingController")
	errs = append(errs, faults(field.NewPath("metadata", "name"), e.Name, validation.NameIsDNSSubdomain(e.Name, false))...)
	errs = append(errs, validateSeries(e.Series)...)
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type))
	}
	unset := func(name string, is bool) {
		if !is {
			errs = append(errs, field.Invalid(field.NewPath(name), "", "needs to be unset"))
		}
	}
	unset("firstTimestamp", e.FirstTimestamp.IsZero())
	unset("lastTimestamp", e.LastTimestamp.IsZero())
	unset("count", e.Count == 0)
	unset("source", e.Source == corev1.EventSource{})
	return errs
}

func validateSeries(s *corev1.EventSeries) (errs field.ErrorList) {
	if s == nil {
		return nil
	}
	if s.Count < eventSeriesCountMin {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if s.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

// validateNewEventUpdate: what happened has happened; only the series goes on.
func validateNewEventUpdate(e, old *corev1.Event) field.ErrorList {
	errs := validateEvent(e, "reportingController")
	same := func(name string, is, was any) {
		errs = append(errs, validation.ValidateImmutableField(is, was, field.NewPath(name))...)
	}
	same("involvedObject", e.InvolvedObject, old.InvolvedObject)
	same("reason", e.Reason, old.Reason)
	same("message", e.Message, old.Message)
	same("source", e.Source, old.Source)
	same("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	same("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	same("count", e.Count, old.Count)
	same("type", e.Type, old.Type)
	// JSON carries microseconds, so a client that read the event may send back less than there was.
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		same("eventTime", e.EventTime, old.EventTime)
	}
	same("action", e.Action, old.Action)
	same("related", e.Related, old.Related)
	same("reportingController", e.ReportingController, old.ReportingController)
	same("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return append(errs, validateSeries(e.Series)...)
}
