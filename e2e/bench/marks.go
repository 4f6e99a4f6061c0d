package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// marks is a directory in which programs make files, and when each came.
type marks struct {
	dir   string
	file  *os.File
	seen  chan mark
	known map[string]time.Time
}

type mark struct {
	name string
	at   time.Time
}

func newMarks() (*marks, error) {
	dir, err := os.MkdirTemp("", "peapod-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "ok"), []byte("ok\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE); err != nil {
		return nil, err
	}
	m := &marks{dir: dir, file: os.NewFile(uintptr(fd), "inotify"), seen: make(chan mark, 1024), known: map[string]time.Time{}}
	go m.read()
	return m, nil
}

// read notes what comes until the file is closed.
func (m *marks) read() {
	defer close(m.seen)
	buf := make([]byte, 64<<10)
	for {
		n, err := m.file.Read(buf)
		now := time.Now()
		if err != nil {
			return
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			name := buf[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+int(e.Len)]
			m.seen <- mark{string(bytes.TrimRight(name, "\x00")), now}
			at += unix.SizeofInotifyEvent + int(e.Len)
		}
	}
}

// await waits until a file of the name has been made.
func (m *marks) await(ctx context.Context, name string) (time.Time, error) {
	for {
		if at, ok := m.known[name]; ok {
			return at, nil
		}
		select {
		case x, ok := <-m.seen:
			if !ok {
				return time.Time{}, fmt.Errorf("%s was never made", name)
			}
			m.known[x.name] = x.at
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for %s: %w", name, ctx.Err())
		}
	}
}

func (m *marks) close() {
	m.file.Close()
	os.RemoveAll(m.dir)
}
