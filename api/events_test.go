package api

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// asHub reads an object of events.k8s.io/v1 as the server does: into the hub.
func asHub(t *testing.T, text string) *corev1.Event {
	t.Helper()
	form, hub := &eventsv1.Event{}, &corev1.Event{}
	if err := yaml.UnmarshalStrict([]byte(text), form); err != nil {
		t.Fatal(err)
	}
	if err := Scheme.Convert(form, hub, nil); err != nil {
		t.Fatal(err)
	}
	return hub
}

// TestEventFormsLoseNothing: core -> events -> core and events -> core -> events are the identity.
func TestEventFormsLoseNothing(t *testing.T) {
	convert := func(from, to runtime.Object) runtime.Object {
		if err := Scheme.Convert(from, to, nil); err != nil {
			t.Fatal(err)
		}
		return to
	}
	for _, hub := range randomObjects(kindNamed(t, "events"), 200) {
		form := convert(hub.DeepCopyObject(), &eventsv1.Event{})
		if got := convert(form, &corev1.Event{}); !equality.Semantic.DeepEqual(hub, got) {
			t.Fatalf("sent: %v\ngot:  %v", hub, got)
		}
	}
	newEvents := &Kind{New: func() runtime.Object { return &eventsv1.Event{} }}
	for _, form := range randomObjects(newEvents, 200) {
		hub := convert(form.DeepCopyObject(), &corev1.Event{})
		if got := convert(hub, &eventsv1.Event{}); !equality.Semantic.DeepEqual(form, got) {
			t.Fatalf("sent: %v\ngot:  %v", form, got)
		}
	}
}

// TestEventFormOnTheWire: a codec of the new group writes the hub's objects as its own, and reads them back.
func TestEventFormOnTheWire(t *testing.T) {
	hub := load(t, "events", "metadata: {name: a, namespace: x}\ninvolvedObject: {kind: Pod, name: p}\nmessage: hello\ncount: 2\nsource: {component: c}\nfirstTimestamp: '2026-01-01T12:00:00Z'\nreportingComponent: r")
	codec := Codecs.LegacyCodec(eventsv1.SchemeGroupVersion)
	b, err := runtime.Encode(codec, hub)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"kind":"Event","apiVersion":"events.k8s.io/v1","metadata":{"name":"a","namespace":"x"},"eventTime":null,"reportingController":"r",` +
		`"regarding":{"kind":"Pod","name":"p"},"note":"hello","deprecatedSource":{"component":"c"},` +
		`"deprecatedFirstTimestamp":"2026-01-01T12:00:00Z","deprecatedLastTimestamp":null,"deprecatedCount":2}`
	if got := strings.TrimSpace(string(b)); got != want {
		t.Errorf("encoded\n got %s\nwant %s", got, want)
	}
	form := &eventsv1.Event{}
	if err := runtime.DecodeInto(Codecs.UniversalDeserializer(), b, form); err != nil {
		t.Fatal(err)
	}
	back := &corev1.Event{}
	if err := Scheme.Convert(form, back, nil); err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(hub, back) {
		t.Errorf("sent: %v\ngot:  %v", hub, back)
	}
}

func TestEventListsConvert(t *testing.T) {
	remaining := int64(7)
	hubs := &corev1.EventList{
		ListMeta: metav1.ListMeta{ResourceVersion: "5", Continue: "c", RemainingItemCount: &remaining},
		Items:    []corev1.Event{{Message: "a"}, {Message: "b"}},
	}
	forms, back := &eventsv1.EventList{}, &corev1.EventList{}
	if err := Scheme.Convert(hubs, forms, nil); err != nil {
		t.Fatal(err)
	}
	if len(forms.Items) != 2 || forms.Items[1].Note != "b" || forms.ResourceVersion != "5" {
		t.Errorf("list: %+v", forms)
	}
	if err := Scheme.Convert(forms, back, nil); err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(hubs, back) {
		t.Errorf("sent: %v\ngot:  %v", hubs, back)
	}
}

func TestEventFieldLabels(t *testing.T) {
	gvk := eventsv1.SchemeGroupVersion.WithKind("Event")
	k := kindNamed(t, "events")
	fields := k.Fields(&corev1.Event{})
	for _, label := range k.Forms[0].FieldLabels {
		hub, value, err := Scheme.ConvertFieldLabel(gvk, label, "v")
		if _, known := fields[hub]; err != nil || value != "v" || !known {
			t.Errorf("%s became %s=%s (%v)", label, hub, value, err)
		}
	}
	for label, want := range map[string]string{
		"regarding.kind": "involvedObject.kind", "reportingController": "reportingComponent", "reason": "reason", "metadata.name": "metadata.name",
	} {
		if got, _, err := Scheme.ConvertFieldLabel(gvk, label, "v"); got != want || err != nil {
			t.Errorf("%s became %s (%v), want %s", label, got, err, want)
		}
	}
	for _, label := range []string{"involvedObject.kind", "source", "reportingComponent"} {
		if _, _, err := Scheme.ConvertFieldLabel(gvk, label, "v"); err == nil {
			t.Errorf("%s is a label of events.k8s.io/v1", label)
		}
	}
	if _, _, err := Scheme.ConvertFieldLabel(corev1.SchemeGroupVersion.WithKind("Event"), "regarding.kind", "v"); err == nil {
		t.Error("regarding.kind is a label of v1")
	}
}

const goodNewEvent = `
metadata: {name: a, namespace: x}
eventTime: "2026-01-01T12:00:00.000001Z"
regarding: {kind: Pod, namespace: x, name: p}
reportingController: example.com/controller
reportingInstance: controller-1
action: Binding
reason: Scheduled
type: Normal
note: hello
series: {count: 2, lastObservedTime: "2026-01-01T12:04:00.000000Z"}
`

func TestNewEventValidation(t *testing.T) {
	form := kindNamed(t, "events").Forms[0]
	long := strings.Repeat("x", eventFieldBytesMax+1)
	tooLong := func(name string) string { return name + `: Invalid value: "": can have at most 128 characters` }
	for _, c := range []badObject{
		{"good", nil, nil},
		{"no time", []string{`eventTime: "2026-01-01T12:00:00.000001Z"`, "eventTime: null"}, []string{"eventTime: Required value"}},
		{"name", []string{"name: a,", "name: A,"}, []string{`metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain`}},
		{"namespace", []string{"namespace: x}", "namespace: X}"}, []string{`namespace: Invalid value: "X": a lowercase RFC 1123 subdomain`}},
		{"type", []string{"Normal", "Abnormal"}, []string{`type: Invalid value: "": has invalid value: Abnormal`}},
		{"no type", []string{"type: Normal", "type: ''"}, []string{`type: Invalid value: "": has invalid value: `}},
		{"nobody", []string{"example.com/controller", "''"}, []string{
			"reportingController: Required value", `reportingController: Invalid value: "": name part must be non-empty`, `reportingController: Invalid value: "": name part must consist of`}},
		{"somebody", []string{"example.com/controller", "not ok"}, []string{`reportingController: Invalid value: "not ok": name part must consist of`}},
		{"no details", []string{"controller-1", "''", "Binding", "''", "Scheduled", "''"}, []string{"reportingInstance: Required value", "action: Required value", "reason: Required value"}},
		{"long details", []string{"controller-1", long, "Binding", long, "Scheduled", long}, []string{tooLong("reportingInstance"), tooLong("action"), tooLong("reason")}},
		{"long note", []string{"note: hello", "note: " + strings.Repeat("x", eventMessageBytesMax+1)}, []string{`message: Invalid value: "": can have at most 1024 characters`}},
		{"old fields", []string{"note: hello", "deprecatedCount: 1\ndeprecatedSource: {host: h}\ndeprecatedFirstTimestamp: '2026-01-01T12:00:00Z'\ndeprecatedLastTimestamp: '2026-01-01T12:00:00Z'"}, []string{
			`firstTimestamp: Invalid value: "": needs to be unset`, `lastTimestamp: Invalid value: "": needs to be unset`, `count: Invalid value: "": needs to be unset`, `source: Invalid value: "": needs to be unset`}},
		{"series", []string{`{count: 2, lastObservedTime: "2026-01-01T12:04:00.000000Z"}`, "{count: 1}"}, []string{
			`series.count: Invalid value: "": should be at least 2`, "series.lastObservedTime: Required value"}},
		{"about a node", []string{"namespace: x}", "namespace: default}", "namespace: x, ", ""}, nil},
		{"about a node, elsewhere", []string{"kind: Pod, namespace: x, ", "kind: Node, "}, []string{`involvedObject.namespace: Invalid value: "": does not match event.namespace`}},
		{"about a node, in the system", []string{"namespace: x}", "namespace: kube-system}", "namespace: x, ", ""}, nil},
		{"about what lives elsewhere", []string{"kind: Pod, namespace: x", "kind: Pod, namespace: z"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			sameFaults(t, form.Validate(asHub(t, edit(t, goodNewEvent, c.edits...))), c.want...)
		})
	}
}

func TestNewEventUpdate(t *testing.T) {
	form := kindNamed(t, "events").Forms[0]
	for _, c := range []badObject{
		{"nothing", nil, nil},
		{"series", []string{"{count: 2", "{count: 3"}, nil},
		{"bad series", []string{"{count: 2", "{count: 1"}, []string{`series.count: Invalid value: "": should be at least 2`}},
		{"label", []string{"name: a,", "name: a, labels: {a: b},"}, nil},
		{"time", []string{"00.000001Z", "00.000002Z"}, []string{"eventTime: Invalid value: \"2026-01-01T12:00:00.000002Z\": field is immutable"}},
		{"story", []string{"name: p}", "name: q}", "Binding", "Unbinding", "Scheduled", "Unscheduled", "Normal", "Warning", "hello", "bye", "controller-1", "controller-2", "example.com/controller", "c"}, []string{
			`involvedObject: Invalid value: {"kind":"Pod","namespace":"x","name":"q"}: field is immutable`, `action: Invalid value: "Unbinding": field is immutable`,
			`reason: Invalid value: "Unscheduled": field is immutable`, `type: Invalid value: "Warning": field is immutable`, `message: Invalid value: "bye": field is immutable`,
			`reportingInstance: Invalid value: "controller-2": field is immutable`, `reportingController: Invalid value: "c": field is immutable`}},
		{"old fields", []string{"note: hello", "note: hello\nrelated: {kind: Node}\ndeprecatedCount: 1\ndeprecatedSource: {host: h}\ndeprecatedFirstTimestamp: '2026-01-01T12:00:00Z'\ndeprecatedLastTimestamp: '2026-01-01T12:00:00Z'"}, []string{
			"firstTimestamp: Invalid value", "lastTimestamp: Invalid value", "count: Invalid value: 1: field is immutable", `source: Invalid value: {"host":"h"}: field is immutable`, `related: Invalid value: {"kind":"Node"}: field is immutable`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sameFaults(t, form.ValidateUpdate(asHub(t, edit(t, goodNewEvent, c.edits...)), asHub(t, goodNewEvent)), c.want...)
		})
	}
	// What a client that knows no nanoseconds sends back is the same time.
	old, coarse := asHub(t, goodNewEvent), asHub(t, goodNewEvent)
	old.EventTime = metav1.NewMicroTime(old.EventTime.Add(300 * time.Nanosecond))
	sameFaults(t, form.ValidateUpdate(coarse, old))
}

// TestCoreEventValidation: what is written as core/v1 may be of the old shape, and need not be typed.
func TestCoreEventValidation(t *testing.T) {
	const old = "metadata: {name: a, namespace: x}\ninvolvedObject: {namespace: x}\ncount: 3\nsource: {component: c}\n"
	runBad(t, "events", old, []badObject{
		{"elsewhere", []string{"{namespace: x}", "{namespace: z}"}, []string{`involvedObject.namespace: Invalid value: "z": does not match event.namespace`}},
		{"about a node", []string{"namespace: x}", "namespace: default}", "{namespace: x}", "{}"}, nil},
		{"about a node, in the system", []string{"namespace: x}", "namespace: kube-system}", "{namespace: x}", "{}"}, []string{`involvedObject.namespace: Invalid value: "": does not match event.namespace`}},
		{"namespace", []string{"namespace: x}", "namespace: X}", "{namespace: x}", "{namespace: X}"}, []string{`namespace: Invalid value: "X": a lowercase RFC 1123 subdomain`}},
	})
	const modern = old + "eventTime: '2026-01-01T12:00:00.000000Z'\nreportingComponent: c\nreportingInstance: i\naction: a\nreason: r\n"
	runBad(t, "events", modern, []badObject{
		{"nobody", []string{"reportingComponent: c", "reportingComponent: ''"}, []string{
			"reportingComponent: Required value", `reportingComponent: Invalid value: "": name part must be non-empty`, `reportingComponent: Invalid value: "": name part must consist of`}},
		{"reason", []string{"reason: r", "reason: " + strings.Repeat("r", eventFieldBytesMax+1)}, []string{`reason: Invalid value: "": can have at most 128 characters`}},
	})
	runUpdates(t, "events", old, []badObject{{"again", []string{"count: 3", "count: 4"}, nil}})
}
