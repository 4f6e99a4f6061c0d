package nodehttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// PartsMax is how many rotated parts a log may have beside its current file: NAME.1 is the newest.
	PartsMax = 4
	// pollEvery is how often a followed log is looked at for more.
	pollEvery = 100 * time.Millisecond
	// lineMax bounds one record of a log file; runtimes write at most 16 KiB of content a record.
	lineMax = 1 << 20
	// sinceSecondsMax bounds sinceSeconds: as many as a duration holds, which is some centuries.
	sinceSecondsMax = int64(math.MaxInt64 / time.Second)
	// tailMax bounds tailLines: the start of each line is remembered.
	tailMax = 1 << 20
)

// logOptions are the query of a log request.
type logOptions struct {
	follow, timestamps bool
	tail               int // negative is all
	since              time.Time
	limit              int64  // bytes; negative is none
	stream             string // "stdout", "stderr" or "" for both
}

func parseLogOptions(r *http.Request, now time.Time) (logOptions, error) {
	q := r.URL.Query()
	o := logOptions{follow: flag(r, "follow"), timestamps: flag(r, "timestamps"), tail: -1, limit: -1}
	number := func(name string) (int64, bool, error) {
		if q.Get(name) == "" {
			return 0, false, nil
		}
		n, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil || n < 0 {
			return 0, false, fmt.Errorf("%s must be a number that is not negative", name)
		}
		return n, true, nil
	}
	if n, ok, err := number("tailLines"); err != nil {
		return o, err
	} else if ok {
		o.tail = int(min(n, tailMax))
	}
	if n, ok, err := number("limitBytes"); err != nil {
		return o, err
	} else if ok {
		o.limit = n
	}
	if n, ok, err := number("sinceSeconds"); err != nil {
		return o, err
	} else if ok {
		o.since = now.Add(-time.Duration(min(n, sinceSecondsMax)) * time.Second)
	}
	if s := q.Get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return o, fmt.Errorf("sinceTime must be an RFC 3339 time: %w", err)
		}
		o.since = t
	}
	switch s := q.Get("stream"); s {
	case "", "All":
	case "Stdout", "stdout":
		o.stream = "stdout"
	case "Stderr", "stderr":
		o.stream = "stderr"
	default:
		return o, fmt.Errorf("stream must be All, Stdout or Stderr, not %q", s)
	}
	return o, nil
}

func (h *handler) logs(w http.ResponseWriter, r *http.Request) {
	p := h.pod(w, r)
	if p == nil {
		return
	}
	opts, err := parseLogOptions(r, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, previous := r.PathValue("container"), flag(r, "previous")
	path, err := h.node.LogFile(p, name, previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	flush := func() { _ = http.NewResponseController(w).Flush() } // a writer without it sends at the end
	flush()
	opts.follow = opts.follow && !previous
	rd := &logReader{opts: opts, out: w, err: w, flush: flush, alive: h.alive(p, name)}
	_ = rd.read(r.Context(), path) // the answer has begun: its end is all that can be said
}

// alive tells whether this start of a container may still write to its log.
func (h *handler) alive(pod *corev1.Pod, container string) func() bool {
	id := ""
	if cs := containerStatus(pod, container); cs != nil {
		id = cs.ContainerID
	}
	return func() bool {
		p := h.node.Pod(pod.Namespace, pod.Name)
		if p == nil || p.UID != pod.UID {
			return false
		}
		cs := containerStatus(p, container)
		return cs != nil && cs.ContainerID == id && cs.State.Running != nil
	}
}

// errEnough ends reading when limitBytes are written.
var errEnough = errors.New("enough")

// logReader writes a log of the CRI format as plain text, across its rotated parts.
type logReader struct {
	opts     logOptions
	out, err io.Writer // for stdout and stderr
	flush    func()
	alive    func() bool
	begun    func() // called once it is known where reading begins; may be nil

	middle bool // the last record written was not a line's end
}

// read writes the log at path, and goes on while it is followed.
func (l *logReader) read(ctx context.Context, path string) error {
	parts := existing(path)
	parts, offset, err := l.start(parts)
	if err != nil {
		return l.done(err)
	}
	if l.begun != nil {
		l.begun()
	}
	for i, p := range parts {
		last := i == len(parts)-1
		if err := l.part(ctx, p, offset, last && p == path); err != nil {
			return l.done(err)
		}
		offset = 0
	}
	if len(parts) == 0 && l.opts.follow {
		return l.done(l.await(ctx, path))
	}
	return nil
}

func (l *logReader) done(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// existing lists a log's files, oldest first.
func existing(path string) []string {
	var out []string
	for i := PartsMax; i >= 0; i-- {
		p := path
		if i > 0 {
			p = path + "." + strconv.Itoa(i)
		}
		if _, err := os.Stat(p); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// start finds where the last lines begin: the files to read, and an offset into the first of them.
func (l *logReader) start(parts []string) ([]string, int64, error) {
	if l.opts.tail < 0 {
		return parts, 0, nil
	}
	need := l.opts.tail
	for i := len(parts) - 1; i >= 0; i-- {
		starts, size, err := lineStarts(parts[i], max(1, need))
		if err != nil {
			return nil, 0, err
		}
		if need == 0 {
			return parts[i:], size, nil
		}
		if len(starts) == need {
			return parts[i:], starts[0], nil
		}
		need -= len(starts)
	}
	return parts, 0, nil
}

// lineStarts are the offsets of the last n whole lines of a file (a line may be several records), and its size.
func lineStarts(path string, n int) (starts []int64, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	begins := int64(0)
	err = records(f, func(line []byte) error {
		size += int64(len(line))
		rec, ok := parse(line)
		if ok && rec.partial {
			return nil
		}
		starts = append(starts, begins)
		if len(starts) >= 2*n {
			starts = append(starts[:0], starts[len(starts)-n:]...)
		}
		begins = size
		return nil
	})
	return starts[max(0, len(starts)-n):], size, err
}

// records calls f for every whole line of r, its newline included.
func records(r io.Reader, f func([]byte) error) error {
	b := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		line, err := b.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(long) < lineMax:
			long = append(long, line...)
			continue
		case errors.Is(err, io.EOF):
			return nil // what has no newline yet is not whole
		case err != nil:
			return err
		}
		if len(long) > 0 {
			line = append(long, line...)
			long = nil
		}
		if err := f(line); err != nil {
			return err
		}
	}
}

type record struct {
	time, stream string
	partial      bool
	text         []byte
}

// parse reads one record: TIME STREAM TAG TEXT.
func parse(line []byte) (record, bool) {
	f := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
	if len(f) < 3 {
		return record{}, false
	}
	rec := record{time: string(f[0]), stream: string(f[1]), partial: bytes.HasPrefix(f[2], []byte("P"))}
	if len(f) == 4 {
		rec.text = f[3]
	}
	return rec, true
}

// part writes one file from an offset; the current file is followed if that is asked for.
func (l *logReader) part(ctx context.Context, path string, offset int64, current bool) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // rotated away meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	for {
		if offset, err = l.drain(ctx, f, offset); err != nil {
			return err
		}
		l.flush()
		if !current || !l.opts.follow {
			return nil
		}
		alive := l.alive()
		if err := pause(ctx); err != nil {
			return err
		}
		if offset, err = l.drain(ctx, f, offset); err != nil {
			return err
		}
		if next := replaced(f, path); next != nil {
			f.Close()
			f, offset = next, 0
			continue
		}
		if !alive {
			l.flush()
			return nil
		}
	}
}

func pause(ctx context.Context) error {
	t := time.NewTimer(pollEvery)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// replaced opens the file that has taken f's name, if there is one.
func replaced(f *os.File, path string) *os.File {
	now, err := os.Stat(path)
	if err != nil {
		return nil
	}
	was, err := f.Stat()
	if err != nil || os.SameFile(now, was) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}

// drain writes what a file has from offset on and returns where it ends.
func (l *logReader) drain(ctx context.Context, f *os.File, offset int64) (int64, error) {
	if st, err := f.Stat(); err != nil || st.Size() <= offset {
		return offset, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	err := records(f, func(line []byte) error {
		offset += int64(len(line))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return l.write(line)
	})
	return offset, err
}

func (l *logReader) write(line []byte) error {
	rec, ok := parse(line)
	if !ok || l.opts.stream != "" && rec.stream != l.opts.stream {
		return nil
	}
	if !l.opts.since.IsZero() {
		if t, err := time.Parse(time.RFC3339Nano, rec.time); err == nil && t.Before(l.opts.since) {
			return nil
		}
	}
	var b []byte
	if l.opts.timestamps && !l.middle {
		b = append(append(b, rec.time...), ' ')
	}
	b = append(b, rec.text...)
	if !rec.partial {
		b = append(b, '\n')
	}
	l.middle = rec.partial
	return l.emit(rec.stream, b)
}

func (l *logReader) emit(stream string, b []byte) error {
	w := l.out
	if stream == "stderr" {
		w = l.err
	}
	if w == nil {
		return nil
	}
	if l.opts.limit >= 0 {
		if int64(len(b)) >= l.opts.limit {
			_, err := w.Write(b[:l.opts.limit])
			return errors.Join(errEnough, err)
		}
		l.opts.limit -= int64(len(b))
	}
	_, err := w.Write(b)
	return err
}

// await waits for a log that does not exist yet.
func (l *logReader) await(ctx context.Context, path string) error {
	for {
		alive := l.alive()
		if _, err := os.Stat(path); err == nil {
			return l.part(ctx, path, 0, true)
		}
		if !alive {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
