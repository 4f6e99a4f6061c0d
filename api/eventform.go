package api

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// newEventForm is the event as events.k8s.io/v1 writes it: the same fields under other names, nothing
// lost either way. Its writers are held to stricter rules.
var newEventForm = Form{
	GroupVersion: eventsv1.SchemeGroupVersion,
	New:          func() runtime.Object { return &eventsv1.Event{} },
	NewList:      func() runtime.Object { return &eventsv1.EventList{} },
	ToHub:        converts(coreEvent),
	FromHub:      converts(newEvent),
	FieldLabels: []string{
		"regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
		"regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
		"reason", "reportingController", "type",
	},
	HubLabels: map[string]string{
		"regarding.kind": "involvedObject.kind", "regarding.namespace": "involvedObject.namespace",
		"regarding.name": "involvedObject.name", "regarding.uid": "involvedObject.uid",
		"regarding.apiVersion": "involvedObject.apiVersion", "regarding.resourceVersion": "involvedObject.resourceVersion",
		"regarding.fieldPath": "involvedObject.fieldPath", "reportingController": "reportingComponent",
	},
	Validate:       check(validateNewEvent),
	ValidateUpdate: checkOld(validateNewEventUpdate),
}

func coreEvent(from *eventsv1.Event, to *corev1.Event) error {
	to.ObjectMeta = from.ObjectMeta
	to.InvolvedObject, to.Related = from.Regarding, from.Related
	to.Reason, to.Message, to.Type, to.Action = from.Reason, from.Note, from.Type, from.Action
	to.EventTime, to.Series = from.EventTime, (*corev1.EventSeries)(from.Series)
	to.ReportingController, to.ReportingInstance = from.ReportingController, from.ReportingInstance
	to.Source, to.Count = from.DeprecatedSource, from.DeprecatedCount
	to.FirstTimestamp, to.LastTimestamp = from.DeprecatedFirstTimestamp, from.DeprecatedLastTimestamp
	return nil
}

func newEvent(from *corev1.Event, to *eventsv1.Event) error {
	to.ObjectMeta = from.ObjectMeta
	to.Regarding, to.Related = from.InvolvedObject, from.Related
	to.Reason, to.Note, to.Type, to.Action = from.Reason, from.Message, from.Type, from.Action
	to.EventTime, to.Series = from.EventTime, (*eventsv1.EventSeries)(from.Series)
	to.ReportingController, to.ReportingInstance = from.ReportingController, from.ReportingInstance
	to.DeprecatedSource, to.DeprecatedCount = from.Source, from.Count
	to.DeprecatedFirstTimestamp, to.DeprecatedLastTimestamp = from.FirstTimestamp, from.LastTimestamp
	return nil
}
