package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// runc measures `runc run` alone, without a cluster, a network, volumes or logs: from the command's start to what the container's
// first process does first.
func (b *podBench) runc(ctx context.Context) error {
	if _, err := exec.LookPath("runc"); err != nil {
		b.t.told("runc run alone, p50", "not measured: apt-get install runc")
		return nil
	}
	dir, err := os.MkdirTemp("", "peapod-bench-runc-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, sub := range []string{"rootfs/out", "rootfs/proc", "rootfs/dev", "rootfs/sys"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/busybox"), program, 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "runc", "spec", "--bundle", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("runc spec: %w\n%s", err, out)
	}
	var took []time.Duration
	for i := range podStarts {
		name := fmt.Sprint("runc-", i)
		if err := runcSpec(dir, b.marks.dir, name); err != nil {
			return err
		}
		began := time.Now()
		if out, err := exec.CommandContext(ctx, "runc", "--root", filepath.Join(dir, "state"), "run", "--bundle", dir, "bench-"+name).CombinedOutput(); err != nil {
			return fmt.Errorf("runc run: %w\n%s", err, out)
		}
		seen, err := b.marks.await(ctx, name)
		if err != nil {
			return err
		}
		took = append(took, seen.Sub(began))
	}
	b.t.told("runc run alone, p50 (p99)", fmt.Sprintf("%.1f ms (%.1f)", quantile(took, 0.5), quantile(took, 0.99)))
	return nil
}

// runcSpec has the bundle touch a file in the directory of marks.
func runcSpec(dir, out, name string) error {
	file := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		return err
	}
	process := spec["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"/busybox", "touch", "/out/" + name}
	mounts := spec["mounts"].([]any)
	if last := mounts[len(mounts)-1].(map[string]any); last["destination"] != "/out" {
		spec["mounts"] = append(mounts, map[string]any{"destination": "/out", "type": "bind", "source": out, "options": []string{"rbind", "rw"}})
	}
	if b, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
