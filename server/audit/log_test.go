package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
)

func testLog(t *testing.T, most int64, path string) (*Log, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if path == "" {
		path = filepath.Join(dir, "audit.log")
	}
	said := &bytes.Buffer{}
	l, err := Open(Config{Policy: policy, File: path, BytesMax: most, Kept: 2, Logger: hclog.New(&hclog.LoggerOptions{Output: said})})
	if err != nil {
		t.Fatal(err)
	}
	return l, said
}

func event(n int) *auditinternal.Event {
	return &auditinternal.Event{Level: auditinternal.LevelMetadata, AuditID: types.UID(fmt.Sprint(n)), Stage: auditinternal.StageResponseComplete}
}

// writeAll writes what waits.
func (l *Log) writeAll() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = l.Write(ctx)
}

// TestLinesAreWholeAndRotated: every event is one line of JSON, and a few files are kept.
func TestLinesAreWholeAndRotated(t *testing.T) {
	l, _ := testLog(t, 2000, "")
	for n := range 60 {
		l.ProcessEvents(event(n))
		if n%5 == 4 {
			l.writeAll()
		}
	}
	found := map[string]bool{}
	for _, end := range []string{"", ".1", ".2"} {
		b, err := os.ReadFile(l.file.path + end)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 2000 {
			t.Errorf("%s has %d bytes", end, len(b))
		}
		for line := range strings.Lines(string(b)) {
			var e struct{ AuditID, Kind string }
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Kind != "Event" {
				t.Fatalf("line %q: %v", line, err)
			}
			found[e.AuditID] = true
		}
	}
	if !found["59"] || found["0"] {
		t.Errorf("of 60 events, the files have %d, the last: %v, the first: %v", len(found), found["59"], found["0"])
	}
	if _, err := os.Stat(l.file.path + ".3"); !os.IsNotExist(err) {
		t.Errorf("a third file was kept: %v", err)
	}
	if l.Lost() != 0 {
		t.Errorf("%d events were lost", l.Lost())
	}
}

// TestLinesAreWrittenTogether: what waits goes to the disk in pieces of many lines, none of them much too large.
func TestLinesAreWrittenTogether(t *testing.T) {
	l, _ := testLog(t, 1<<30, "")
	for n := range 2*batchMax + 1 {
		l.ProcessEvents(event(n))
	}
	large := event(0)
	large.UserAgent = strings.Repeat("a", batchBytes/4-1) // the rest of the line makes a quarter, and more
	for range 6 {
		l.ProcessEvents(large)
	}
	var lines []int
	for batch := new(bytes.Buffer); len(l.events) > 0; {
		l.writeBatch(batch, <-l.events)
		lines = append(lines, bytes.Count(batch.Bytes(), []byte("\n")))
		if batch.Len() > batchBytes+batchBytes/2 {
			t.Errorf("%d bytes were written at once", batch.Len())
		}
	}
	if want := "[400 400 5 2]"; fmt.Sprint(lines) != want {
		t.Errorf("written in pieces of %v lines, want %v", lines, want)
	}
}

// TestFewWrites counts the calls that write as the kernel does, since whoever writes batches line by line writes each all the same.
func TestFewWrites(t *testing.T) {
	l, _ := testLog(t, 1<<30, "")
	const many = 5 * batchMax
	for n := range many {
		l.ProcessEvents(event(n))
	}
	before := writes(t)
	l.writeAll()
	if made := writes(t) - before; made > many/10 { // the runtime writes to wake its threads
		t.Errorf("%d writes for %d events", made, many)
	}
}

// writes is how often this process has written.
func writes(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "syscw: ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNobodyWaits: events that find no room are counted, not waited for.
func TestNobodyWaits(t *testing.T) {
	l, said := testLog(t, 1<<30, "")
	for n := range queueMax + 7 {
		if !l.ProcessEvents(event(n)) {
			t.Fatal("an event was refused, which would refuse its request")
		}
	}
	if l.Lost() != 7 {
		t.Errorf("%d events were lost", l.Lost())
	}
	l.writeAll()
	if !strings.Contains(said.String(), "lost=7") {
		t.Errorf("the log says %q", said)
	}
}

// TestLargeEventsDoNotFillTheMemory: what waits is bounded by its bytes too, and room that was used is there again.
func TestLargeEventsDoNotFillTheMemory(t *testing.T) {
	l, _ := testLog(t, 1<<30, "")
	l.bytesMax = 1 << 20
	large := event(0)
	large.UserAgent = strings.Repeat("a", 1<<16-1000)
	for round := range 2 {
		for range 20 {
			l.ProcessEvents(large)
		}
		if want := int64(4 * (round + 1)); l.Lost() != want {
			t.Errorf("%d events were lost, want %d", l.Lost(), want)
		}
		l.writeAll()
	}
	if left := l.bytes.Load(); left != 0 {
		t.Errorf("%d bytes are thought to wait", left)
	}
}

// TestDiskHasRoomAgain: after a full disk events are written again, and every line is whole.
func TestDiskHasRoomAgain(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	l, _ := testLog(t, 1<<30, filepath.Join(dir, "audit.log"))
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := range 500 {
		l.ProcessEvents(event(n))
		l.writeAll()
	}
	lost := l.Lost()
	if lost == 0 || lost == 500 {
		t.Fatalf("%d of 500 events were lost", lost)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.ProcessEvents(event(500))
	l.writeAll()
	b, err := os.ReadFile(l.file.path)
	if err != nil {
		t.Fatal(err)
	}
	whole := int64(0)
	for line := range strings.Lines(string(b)) {
		if !json.Valid([]byte(line)) || !strings.HasSuffix(line, "\n") {
			t.Fatalf("line %q", line)
		}
		whole++
	}
	if whole != 501-lost || l.Lost() != lost {
		t.Errorf("%d lines for 501 events of which %d were lost", whole, l.Lost())
	}
}

// TestFullDisk: what cannot be written is counted and said.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	l, said := testLog(t, 1<<30, "/dev/full")
	for n := range 3 {
		l.ProcessEvents(event(n))
	}
	l.writeAll()
	if l.Lost() != 3 || !strings.Contains(said.String(), "no space left on device") {
		t.Errorf("%d events were lost, and the log says %q", l.Lost(), said)
	}
}
