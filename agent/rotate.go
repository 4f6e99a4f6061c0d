package agent

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

const (
	// logSizeMax and logFilesMax bound a container's log: its file and three or four older parts.
	logSizeMax  = 10 << 20
	logFilesMax = 5
	rotateEvery = 10 * time.Second
)

// LogReopener is an executor whose log writers can be told that their file was renamed.
type LogReopener interface {
	ReopenLog(ctx context.Context, containerID string) error
}

// rotateLogs renames logs that have grown too long, until ctx ends. The writer goes on in the renamed file
// until it is told to open its path anew, so no line is lost.
func (a *Agent) rotateLogs(ctx context.Context) {
	ex, ok := a.cfg.Executor.(LogReopener)
	if !ok || a.cfg.DataDir == "" {
		return
	}
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.rotateAll(ctx, ex)
		}
	}
}

func (a *Agent) rotateAll(ctx context.Context, ex LogReopener) {
	for _, p := range a.Pods() {
		for _, cs := range allStatuses(&p.Status) {
			if cs.State.Running == nil {
				continue
			}
			path := a.logPath(p, cs.Name, int(cs.RestartCount))
			if st, err := os.Stat(path); err != nil || st.Size() < logSizeMax {
				continue
			}
			if err := rotate(path); err != nil {
				a.log.Warn("rotating a log", "path", path, "error", err)
				continue
			}
			if err := ex.ReopenLog(ctx, trimID(cs.ContainerID)); err != nil {
				a.log.Warn("having a log opened anew", "path", path, "error", err)
			}
		}
	}
}

// rotate shifts PATH to PATH.1, PATH.1 to PATH.2, and so on; the oldest part goes.
func rotate(path string) error {
	part := func(i int) string {
		if i == 0 {
			return path
		}
		return path + "." + strconv.Itoa(i)
	}
	for i := logFilesMax - 2; i >= 0; i-- {
		if err := os.Rename(part(i), part(i+1)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("renaming %s: %w", part(i), err)
		}
	}
	return nil
}
