package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Exit is a line of the supervisor's journal. PID and StartTime together name a process.
type Exit struct {
	PID       int
	StartTime uint64 // clock ticks after boot
	Code      int    // 128+n after signal n
	At        time.Time
}

// ProcessKey names a process on this machine until its next boot.
type ProcessKey struct {
	PID       int
	StartTime uint64
}

// ReadExits reads the journal in dir: the ends of processes whose parent the supervisor was. It works
// without a supervisor too.
func ReadExits(dir string) (map[ProcessKey]Exit, error) {
	all := map[ProcessKey]Exit{}
	for _, name := range []string{"exits.1", "exits"} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the journal of exits: %w", err)
		}
		err = readExits(f, all)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the journal of exits: %w", err)
		}
	}
	return all, nil
}

// readExits skips lines that it cannot read: the last one may be torn by a crash of the machine.
func readExits(r io.Reader, into map[ProcessKey]Exit) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		var e Exit
		var nanos int64
		if n, _ := fmt.Sscan(s.Text(), &e.PID, &e.StartTime, &e.Code, &nanos); n != 4 {
			continue
		}
		e.At = time.Unix(0, nanos)
		into[ProcessKey{e.PID, e.StartTime}] = e
	}
	return s.Err()
}
