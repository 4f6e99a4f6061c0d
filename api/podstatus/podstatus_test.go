package podstatus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// check says whether the status comes back from its compact form in every way that the typed one can be asked for.
func check(t rapid.TB, encoded []byte) {
	t.Helper()
	var typed corev1.PodStatus
	wantErr := typed.Unmarshal(encoded)
	s, err := Compact(encoded)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("compacting %x: %v; decoding it: %v", encoded, err, wantErr)
	}
	if err != nil {
		return
	}
	if typed.Phase == "" {
		typed.Phase = corev1.PodPending
	}
	var e Expander
	if got := e.AppendStored([]byte("before"), s); !bytes.Equal(got, append([]byte("before"), encoded...)) {
		t.Fatalf("stored:\n%x\nis back as\n%x", encoded, got[6:])
	}
	wantProto, err := typed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.AppendProto([]byte("before"), s); err != nil || !bytes.Equal(got, append([]byte("before"), wantProto...)) {
		t.Fatalf("as protobuf (%v):\n%q\nthe typed one is\n%q", err, got, wantProto)
	}
	wantJSON, wantErr := json.Marshal(&typed)
	if got, err := e.AppendJSON([]byte("before"), s); (err != nil) != (wantErr != nil) || err == nil && string(got) != "before"+string(wantJSON) {
		t.Fatalf("as JSON (%v):\n%s\nthe typed one is (%v)\n%s", err, got, wantErr, wantJSON)
	}
	checkDerived(t, s, &typed)
}

func checkDerived(t rapid.TB, s Status, typed *corev1.PodStatus) {
	t.Helper()
	ready, since := false, int64(0)
	for _, c := range typed.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			ready, since = true, c.LastTransitionTime.Unix()
		}
	}
	if s.Phase() != typed.Phase || s.PodIP() != typed.PodIP || s.Ready() != ready || s.ReadySince() != since {
		t.Fatalf("phase %q, address %q, ready %v since %d; the typed one has %q, %q, %v, %d",
			s.Phase(), s.PodIP(), s.Ready(), s.ReadySince(), typed.Phase, typed.PodIP, ready, since)
	}
	if again := s.Decode(); !equalJSON(t, &again, typed) {
		t.Fatalf("decoded\n%v\nthe typed one is\n%v", again, typed)
	}
}

func equalJSON(t rapid.TB, a, b *corev1.PodStatus) bool {
	t.Helper()
	x, err := a.Marshal()
	y, err2 := b.Marshal()
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// Statuses are drawn with ordinary and with strange values in each place.

var (
	texts = rapid.OneOf(rapid.SampledFrom([]string{"", "main", "10.42.0.7", "10.42.0.8", "010.1.1.1", "fd00::1", "0011aaff", "0011AAFF", "abc", "peapod://", "peapod://00ff",
		"Peapod://00ff", "a<b>&\"\n", "\xff", "peapod-value-0-", "peapod://peapod-value-1-", "1804281000", "containers with unready status: [main]"}), rapid.String())
	times = rapid.Custom(func(t *rapid.T) metav1.Time {
		switch rapid.IntRange(0, 5).Draw(t, "time") {
		case 0:
			return metav1.Time{}
		case 1:
			return metav1.Unix(1_800_000_000, int64(rapid.IntRange(0, 999_999_999).Draw(t, "nanos")))
		case 2:
			return metav1.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"), 0)
		case 3:
			return metav1.Unix(markMoment+rapid.Int64Range(0, 9).Draw(t, "mark"), 0)
		}
		return metav1.Unix(1_800_000_000+rapid.Int64Range(0, 9).Draw(t, "soon"), 0)
	})
	numbers = rapid.OneOf(rapid.Int32Range(0, 3), rapid.SampledFrom([]int32{math.MinInt32, -1, math.MaxInt32, markNumber, markNumber + 1}))
)

func state(t *rapid.T) (s corev1.ContainerState) {
	switch rapid.IntRange(0, 3).Draw(t, "state") {
	case 1:
		s.Waiting = &corev1.ContainerStateWaiting{Reason: texts.Draw(t, "reason"), Message: texts.Draw(t, "message")}
	case 2:
		s.Running = &corev1.ContainerStateRunning{StartedAt: times.Draw(t, "started")}
	case 3:
		s.Terminated = &corev1.ContainerStateTerminated{ExitCode: numbers.Draw(t, "code"), Signal: numbers.Draw(t, "signal"), Reason: texts.Draw(t, "reason"),
			Message: texts.Draw(t, "message"), StartedAt: times.Draw(t, "started"), FinishedAt: times.Draw(t, "finished"), ContainerID: texts.Draw(t, "id")}
	}
	return s
}

var containers = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) corev1.ContainerStatus {
	c := corev1.ContainerStatus{Name: texts.Draw(t, "name"), Image: texts.Draw(t, "image"), ImageID: texts.Draw(t, "imageID"), ContainerID: texts.Draw(t, "containerID"),
		State: state(t), LastTerminationState: state(t), Ready: rapid.Bool().Draw(t, "ready"), RestartCount: numbers.Draw(t, "restarts")}
	if rapid.Bool().Draw(t, "more") {
		started := rapid.Bool().Draw(t, "started")
		c.Started = &started
		c.AllocatedResources = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("1Gi")}
		c.Resources = &corev1.ResourceRequirements{Limits: c.AllocatedResources}
		c.VolumeMounts = []corev1.VolumeMountStatus{{Name: texts.Draw(t, "mount"), MountPath: "/x"}}
		c.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 7, SupplementalGroups: []int64{1, 2}}}
	}
	return c
}), 0, 3)

var statuses = rapid.Custom(func(t *rapid.T) *corev1.PodStatus {
	s := &corev1.PodStatus{
		Phase:   rapid.SampledFrom([]corev1.PodPhase{"", corev1.PodPending, corev1.PodRunning, corev1.PodFailed, "peapod-value-0-"}).Draw(t, "phase"),
		Message: texts.Draw(t, "message"), Reason: texts.Draw(t, "reason"), HostIP: texts.Draw(t, "hostIP"), PodIP: texts.Draw(t, "podIP"),
		NominatedNodeName: texts.Draw(t, "nominated"), QOSClass: corev1.PodQOSBurstable, ObservedGeneration: int64(numbers.Draw(t, "generation")),
		InitContainerStatuses: containers.Draw(t, "init"), ContainerStatuses: containers.Draw(t, "main"), EphemeralContainerStatuses: containers.Draw(t, "ephemeral"),
	}
	for range rapid.IntRange(0, 5).Draw(t, "conditions") {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: rapid.SampledFrom([]corev1.PodConditionType{corev1.PodReady, corev1.PodScheduled}).Draw(t, "type"),
			Status: rapid.SampledFrom([]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}).Draw(t, "status"), LastProbeTime: times.Draw(t, "probed"),
			LastTransitionTime: times.Draw(t, "changed"), Reason: texts.Draw(t, "reason"), Message: texts.Draw(t, "message"), ObservedGeneration: 1})
	}
	if rapid.Bool().Draw(t, "started") {
		at := times.Draw(t, "start")
		s.StartTime = &at
	}
	for range rapid.IntRange(0, 2).Draw(t, "addresses") {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: texts.Draw(t, "podIPs")})
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: texts.Draw(t, "hostIPs")})
	}
	if rapid.Bool().Draw(t, "claims") {
		name := texts.Draw(t, "claim")
		s.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "c", ResourceClaimName: &name}}
	}
	return s
})

// Invariant 9.
func TestStatusesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encoded, err := statuses.Draw(t, "status").Marshal()
		if err != nil {
			t.Fatal(err)
		}
		check(t, encoded)
	})
}

// Invariant 9, of statuses that no encoder of ours writes: fields that this version does not know, in any place, fields that come twice
// or in another order, numbers that are longer than they must be, and damage.
func TestStrangeStatusesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encoded, err := statuses.Draw(t, "status").Marshal()
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			encoded = disturb(t, encoded, 0)
		}
		check(t, encoded)
	})
}

// disturb changes a message, or one in it.
func disturb(t *rapid.T, message []byte, depth int) []byte {
	var parts [][]byte
	for rest := message; len(rest) > 0; {
		_, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return message
		}
		parts, rest = append(parts, rest[:n]), rest[n:]
	}
	at := rapid.IntRange(0, len(parts)).Draw(t, "at")
	insert := func(b []byte) []byte {
		return join(append(append(append([][]byte{}, parts[:at]...), b), parts[at:]...))
	}
	switch rapid.IntRange(0, 6).Draw(t, "how") {
	case 0:
		return insert(protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), texts.Draw(t, "unknown")))
	case 1:
		return insert(protowire.AppendFixed64(protowire.AppendTag(nil, 5, protowire.Fixed64Type), 7))
	case 2:
		return append(message[:len(message):len(message)], rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "damage")...)
	case 3: // a number that is too long
		return insert([]byte{5 << 3, 0x81, 0x00})
	}
	if at == len(parts) {
		return message
	}
	num, wire, n := protowire.ConsumeTag(parts[at])
	if depth < 4 && wire == protowire.BytesType && rapid.Bool().Draw(t, "deeper") {
		inner, _ := protowire.ConsumeBytes(parts[at][n:])
		parts[at] = protowire.AppendBytes(protowire.AppendTag(nil, num, wire), disturb(t, inner, depth+1))
		return join(parts)
	}
	return insert(parts[rapid.IntRange(0, len(parts)-1).Draw(t, "twice")])
}

func join(parts [][]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func FuzzCompact(f *testing.F) {
	encoded, err := running(1).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Fuzz(func(t *testing.T, encoded []byte) { check(t, encoded) })
}

// running is what a node says of an ordinary pod.
func running(n int) *corev1.PodStatus {
	at, yes := metav1.NewTime(time.Unix(1_800_000_000+int64(n), 0)), true
	node, pod := fmt.Sprintf("192.168.1.%d", n%200), fmt.Sprintf("10.42.%d.%d", n/200%200, n%200)
	s := &corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBestEffort, ObservedGeneration: 1, StartTime: &at, HostIP: node, HostIPs: []corev1.HostIP{{IP: node}},
		PodIP: pod, PodIPs: []corev1.PodIP{{IP: pod}}}
	for _, c := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: at, ObservedGeneration: 1})
	}
	s.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Image: "registry.example.com/web:1", ImageID: fmt.Sprintf("sha256:%064d", 7), Ready: true, Started: &yes,
		ContainerID: fmt.Sprintf("peapod://%064x", n), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}}}
	return s
}

// Ordinary pods share one shape, which is cut for JSON, and little is left.
func TestOrdinaryStatusesShare(t *testing.T) {
	var first Status
	for i := range 500 {
		encoded, err := running(i).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		check(t, encoded)
		s, err := Compact(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = s
			t.Logf("%d bytes become %d", len(encoded), len(s.values))
		}
		if s.shape != first.shape || s.shape.json() == nil || !s.shape.plain {
			t.Fatal("ordinary pods do not share a shape that is cut")
		}
		if len(s.values) > 64 {
			t.Errorf("%d bytes of values", len(s.values))
		}
	}
}

// A shape that is guessed is the one that would have been found, also for statuses that hardly differ from it.
func TestGuessesAreFindings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, base := new(parser), [][]byte{}
		for i := range 3 {
			encoded, err := running(i).Marshal()
			if drawn, err2 := statuses.Draw(t, "status").Marshal(); err != nil || err2 != nil {
				t.Fatal(err, err2)
			} else {
				base = append(base, encoded, drawn)
			}
		}
		for range 40 {
			encoded := bytes.Clone(rapid.SampledFrom(base).Draw(t, "of"))
			if len(encoded) == 0 {
				continue
			}
			if rapid.Bool().Draw(t, "changed") {
				at := rapid.IntRange(0, len(encoded)-1).Draw(t, "at")
				encoded = slices.Replace(encoded, at, min(len(encoded), at+rapid.IntRange(0, 2).Draw(t, "cut")), rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "put")...)
			}
			found, err := new(parser).compact(encoded)
			if s, err2 := p.compact(encoded); s != found || (err == nil) != (err2 == nil) {
				t.Fatalf("found %v, %v; guessed %v, %v of %x", found, err, s, err2, encoded)
			}
		}
		if s, err := p.compact(base[0]); err != nil || p.guess(base[0]) != s.shape {
			t.Fatalf("an ordinary status is not guessed: %v", err)
		}
	})
}

// Shapes that nobody has are forgotten.
func TestShapesAreForgotten(t *testing.T) {
	for i := range 100 {
		if _, err := Compact(fmt.Appendf(nil, "\x0a\x0dunheard-of-%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	known := func() (n int) {
		shapes.mu.Lock()
		defer shapes.mu.Unlock()
		for key := range shapes.byKey {
			if bytes.Contains([]byte(key), []byte("unheard-of-")) {
				n++
			}
		}
		return n
	}
	for range 1000 {
		if runtime.GC(); known() == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d shapes are kept", known())
}

func BenchmarkCompact(b *testing.B) {
	benchmark(b, func(e *Expander, s Status, enc []byte) { _, _ = Compact(enc) })
}
func BenchmarkDecode(b *testing.B) {
	benchmark(b, func(e *Expander, s Status, enc []byte) { _ = s.Decode() })
}
func BenchmarkAppendProto(b *testing.B) {
	benchmark(b, func(e *Expander, s Status, enc []byte) { _, _ = e.AppendProto(enc[:0:len(enc)], s) })
}
func BenchmarkAppendJSON(b *testing.B) {
	var out []byte
	benchmark(b, func(e *Expander, s Status, enc []byte) { out, _ = e.AppendJSON(out[:0], s) })
}

func benchmark(b *testing.B, f func(*Expander, Status, []byte)) {
	encoded, err := running(1).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	s, err := Compact(encoded)
	if err != nil {
		b.Fatal(err)
	}
	var e Expander
	b.ReportAllocs()
	for b.Loop() {
		f(&e, s, encoded)
	}
}
