package cri

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// endRecord is ends/ID.json: how a container has ended, and whether the agent was told. The runtime knows the first,
// until it is told to forget the container; nobody but this file knows the second.
type endRecord struct {
	Container runtime.Container
	Delivered bool
}

func (e *Executor) endFile(id string) string {
	return filepath.Join(e.cfg.StateDir, "ends", id+".json")
}

// saveEnd replaces the file as a whole. It does not sync: after a crash of the machine all containers have ended, and an
// end that is told twice does no harm.
func (e *Executor) saveEnd(r endRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file := e.endFile(r.Container.ID)
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return fmt.Errorf("writing a record: %w", err)
	}
	return os.Rename(file+".new", file)
}

func (e *Executor) loadEnd(id string) (r endRecord, ok bool) {
	b, err := os.ReadFile(e.endFile(id))
	return r, err == nil && json.Unmarshal(b, &r) == nil
}

func (e *Executor) removeEnd(id string) error {
	if err := os.Remove(e.endFile(id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// recordedEnds are the names of all containers of which there is a record.
func (e *Executor) recordedEnds() ([]string, error) {
	list, err := os.ReadDir(filepath.Join(e.cfg.StateDir, "ends"))
	var out []string
	for _, f := range list {
		if id, ok := strings.CutSuffix(f.Name(), ".json"); ok {
			out = append(out, id)
		}
	}
	return out, err
}
