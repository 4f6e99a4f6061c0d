package api

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "Event", Resource: "events", Singular: "event", ShortNames: []string{"ev"},
		New:            func() runtime.Object { return &corev1.Event{} },
		NewList:        func() runtime.Object { return &corev1.EventList{} },
		Validate:       check(validateCoreEvent),
		ValidateUpdate: checkOld(func(e, _ *corev1.Event) field.ErrorList { return validateCoreEvent(e) }),
		ValidateName:   func(string, bool) []string { return nil },
		Columns: []metav1.TableColumnDefinition{
			textColumn("Last Seen", "How long ago the event happened last."),
			textColumn("Type", "Normal or Warning."),
			textColumn("Reason", "Why, in one word."),
			textColumn("Object", "The object that the event is about."),
			wide(textColumn("Subobject", "The part of the object that the event is about.")),
			wide(textColumn("Source", "Who reported the event.")),
			textColumn("Message", "What happened."),
			wide(textColumn("First Seen", "How long ago the event happened first.")),
			wide(numberColumn("Count", "How many times it happened.")),
			wide(nameColumn),
		},
		Row:            row(eventRow),
		FieldLabels:    eventFieldLabels,
		Fields:         selectable(eventFields),
		TTLSeconds:     eventTTLSeconds,
		CreateOnUpdate: true,
		Forms:          []Form{newEventForm},
	})
}

var eventFieldLabels = []string{
	"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
	"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
	"reason", "reportingComponent", "source", "type",
}

func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

// eventRow reads both shapes of event: the old one counts by itself, the new one by its series.
func eventRow(e *corev1.Event, now time.Time) []any {
	first := age(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = microAge(e.EventTime, now)
	}
	last := age(e.LastTimestamp, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := int64(e.Count)
	if e.Series != nil {
		last, count = microAge(e.Series.LastObservedTime, now), int64(e.Series.Count)
	} else if count == 0 {
		count = 1
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, eventSource(e),
		strings.TrimSpace(e.Message), first, count, e.Name,
	}
}

func microAge(t metav1.MicroTime, now time.Time) string {
	if t.IsZero() {
		return cellUnknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func eventSource(e *corev1.Event) string {
	component, instance := e.Source.Component, e.Source.Host
	if component == "" {
		component, instance = e.ReportingController, e.ReportingInstance
	}
	if instance == "" {
		return component
	}
	return component + ", " + instance
}
