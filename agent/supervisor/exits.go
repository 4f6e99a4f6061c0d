package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// readExits skips lines that it cannot read: a crash of the machine may tear the last one, or leave anything in its place.
func readExits(r io.Reader, into map[ProcessKey]Exit) error {
	b := bufio.NewReaderSize(r, exitLineBytesMax)
	for torn := false; ; {
		line, err := b.ReadSlice('\n')
		whole := err == nil && !torn
		torn = errors.Is(err, bufio.ErrBufferFull)
		if e, ok := parseExit(string(line)); ok && whole {
			into[ProcessKey{e.PID, e.StartTime}] = e
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && !torn {
			return err
		}
	}
}

func parseExit(line string) (e Exit, ok bool) {
	f := strings.Fields(line)
	if len(f) != 4 {
		return Exit{}, false
	}
	var errs [4]error
	var nanos int64
	e.PID, errs[0] = strconv.Atoi(f[0])
	e.StartTime, errs[1] = strconv.ParseUint(f[1], 10, 64)
	e.Code, errs[2] = strconv.Atoi(f[2])
	nanos, errs[3] = strconv.ParseInt(f[3], 10, 64)
	e.At = time.Unix(0, nanos)
	return e, errors.Join(errs[:]...) == nil
}
