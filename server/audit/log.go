package audit

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-metrics"
	"k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
)

const (
	// queueMax is how many events may wait for the disk; some seconds of a busy server. Those that hold requests and answers may be a
	// megabyte each, so their bytes are bounded too.
	queueMax      = 10000
	queueBytesMax = 64 << 20
	// batchMax bounds the events of one write; past batchBytes none is added.
	batchMax   = 400
	batchBytes = 1 << 20
	// sayEvery is how often a loss that goes on is said.
	sayEvery = time.Minute
)

// Config says what is written where.
type Config struct {
	Policy   string // file with an audit.k8s.io/v1 Policy
	File     string // that lines are appended to
	BytesMax int64  // of the file, before it is put aside
	Kept     int    // files that were put aside
	Logger   hclog.Logger
}

// Log is where events go. It is a Backend that never refuses.
type Log struct {
	Rules audit.PolicyRuleEvaluator

	events   chan []byte  // lines
	bytes    atomic.Int64 // of those that wait
	bytesMax int64
	file     *file
	log      hclog.Logger
	lost     atomic.Int64
	said     time.Time // when a loss was last said; the writer's
	told     int64     // losses that were said
}

var _ audit.Backend = (*Log)(nil)

// Open reads the policy and opens the file.
func Open(c Config) (*Log, error) {
	p, err := policy.LoadPolicyFromFile(c.Policy)
	if err != nil {
		return nil, fmt.Errorf("reading the audit policy: %w", err)
	}
	f, err := openFile(c.File, c.BytesMax, c.Kept)
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	return &Log{Rules: policy.NewPolicyRuleEvaluator(p), events: make(chan []byte, queueMax), bytesMax: queueBytesMax, file: f, log: c.Logger}, nil
}

var encoder = audit.Codecs.LegacyCodec(auditv1.SchemeGroupVersion)

// ProcessEvents implements audit.Sink. Events are encoded here, since their request goes on changing them.
func (l *Log) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, e := range events {
		line, err := runtime.Encode(encoder, e)
		if err != nil {
			l.lose(1)
			continue
		}
		if !l.enqueue(line) {
			l.lose(1)
		}
	}
	return true
}

func (l *Log) enqueue(line []byte) bool {
	n := int64(len(line))
	if l.bytes.Add(n) <= l.bytesMax {
		select {
		case l.events <- line:
			return true
		default:
		}
	}
	l.bytes.Add(-n)
	return false
}

func (l *Log) lose(n int) {
	l.lost.Add(int64(n))
	metrics.IncrCounter([]string{"server", "audit", "lost"}, float32(n))
}

// Lost is how many events were not written.
func (l *Log) Lost() int64 { return l.lost.Load() }

// Write writes events until ctx ends, and then what still waits.
func (l *Log) Write(ctx context.Context) error {
	defer l.file.close()
	var batch bytes.Buffer
	for {
		select {
		case line := <-l.events:
			l.writeBatch(&batch, line)
		case <-ctx.Done():
			for {
				select {
				case line := <-l.events:
					l.writeBatch(&batch, line)
				default:
					return ctx.Err()
				}
			}
		}
	}
}

// writeBatch writes a line and those that wait behind it.
func (l *Log) writeBatch(b *bytes.Buffer, line []byte) {
	b.Reset()
	n := 0
	for more := true; more; {
		b.Write(line)
		l.bytes.Add(-int64(len(line)))
		if n++; n == batchMax || b.Len() >= batchBytes {
			break
		}
		select {
		case line = <-l.events:
		default:
			more = false
		}
	}
	if err := l.file.write(b.Bytes()); err != nil {
		l.lose(n)
		l.say(err)
	} else if l.lost.Load() > l.told {
		l.say(nil)
	}
}

// say tells of events that were lost, now and then.
func (l *Log) say(err error) {
	if time.Since(l.said) < sayEvery {
		return
	}
	l.said, l.told = time.Now(), l.lost.Load()
	if err == nil {
		l.log.Error("audit events were lost: more came than the disk takes", "lost", l.told)
		return
	}
	l.log.Error("audit events are lost: they cannot be written", "lost", l.told, "error", err)
}

// Run implements audit.Backend; Write does the work.
func (l *Log) Run(<-chan struct{}) error { return nil }

// Shutdown implements audit.Backend.
func (l *Log) Shutdown() {}

func (l *Log) String() string { return "file" }
