package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	quietFor   = 10 * time.Second
	quietPause = 20 * time.Millisecond
)

// quiet is how long each request of a quiet client took.
type quiet struct{ Reads, Writes []time.Duration }

// askQuietly has a process of its own be the quiet client: in this one it would wait for the processor behind all other clients.
func askQuietly(ctx context.Context, l *rig.Lab, server, name string) (out quiet, err error) {
	kubeconfig, err := userKubeconfig(ctx, l, server, "quiet", "people")
	if err != nil {
		return out, err
	}
	own, err := os.Executable()
	if err != nil {
		return out, err
	}
	c := exec.CommandContext(ctx, own, "-quiet", name)
	c.Stdin, c.Stderr = bytes.NewReader(kubeconfig), os.Stderr
	b, err := c.Output()
	if err != nil {
		return out, fmt.Errorf("the quiet client: %w", err)
	}
	return out, json.Unmarshal(b, &out)
}

// beQuiet is that process.
func beQuiet(ctx context.Context, name string, kubeconfig io.Reader, results io.Writer) error {
	text, err := io.ReadAll(kubeconfig)
	if err != nil {
		return err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		return err
	}
	w, err := newWriterAs(ctx, config)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	out, err := w.quietly(ctx, name)
	if err != nil {
		return err
	}
	return json.NewEncoder(results).Encode(out)
}

// quietly reads one object and creates another one by turns.
func (w *writer) quietly(ctx context.Context, name string) (out quiet, err error) {
	for end, i := time.Now().Add(quietFor), 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		began := time.Now()
		if _, err := w.get(readPath, protobufType); err != nil {
			return out, err
		}
		out.Reads = append(out.Reads, time.Since(began))
		time.Sleep(quietPause)
		began = time.Now()
		if err := w.create(smallMap(fmt.Sprint("quiet-", name, "-", i))); err != nil {
			return out, err
		}
		out.Writes = append(out.Writes, time.Since(began))
		time.Sleep(quietPause)
	}
	return out, ctx.Err()
}
