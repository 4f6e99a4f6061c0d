package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/supervisor"
)

// stream is one of a container's outputs: a FIFO on disk, so that a later agent can hand it to a later supervisor.
type stream struct {
	name string
	kind supervisor.Stream
}

var streams = []stream{{"out", supervisor.Stdout}, {"err", supervisor.Stderr}}

// openStream makes the FIFO if need be. The writer, opened for reading too, is the container's: it never gets
// SIGPIPE, whoever dies. The reader is kept by this agent as well as by the supervisor, so
// that what is in the pipe outlives either.
func openStream(dir string, s stream) (writer, reader *os.File, err error) {
	path := filepath.Join(dir, s.name)
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, nil, fmt.Errorf("making a log pipe: %w", err)
	}
	writer, err = openFile(path, unix.O_RDWR)
	if err != nil {
		return nil, nil, err
	}
	if reader, err = openReader(dir, s); err != nil {
		writer.Close()
		return nil, nil, err
	}
	return writer, reader, nil
}

func openReader(dir string, s stream) (*os.File, error) {
	return openFile(filepath.Join(dir, s.name), unix.O_RDONLY|unix.O_NONBLOCK)
}

// openFile avoids os.OpenFile, which would make the descriptor part of Go's poller.
func openFile(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
