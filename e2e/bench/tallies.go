package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// tallies adds up what Deployments say of their pods. It hears of each change once: asking again and again for a thousand Deployments
// took the processors that were to be measured.
type tallies struct {
	stop func() // ends the watch and waits for it

	mu   sync.Mutex
	of   map[string]tally // by the Deployment's name
	sums tally
}

type tally struct{ pods, ready int }

// followTallies watches the Deployments of namespace default until stop is called or ctx ends.
func followTallies(ctx context.Context, c *rest.Config) *tallies {
	ctx, cancel := context.WithCancel(ctx)
	t := &tallies{of: map[string]tally{}}
	var wg sync.WaitGroup
	wg.Go(func() { t.follow(ctx, c) })
	t.stop = func() { cancel(); wg.Wait() }
	return t
}

// follow begins again when a watch has ended: each begins with all that there are.
func (t *tallies) follow(ctx context.Context, c *rest.Config) {
	for ctx.Err() == nil {
		if err := t.watch(ctx, c); ctx.Err() == nil && !errors.Is(err, io.EOF) {
			fmt.Fprintln(os.Stderr, "watching Deployments:", err)
		}
		_ = pause(ctx, 100*time.Millisecond) // it fails when ctx ends, as the loop does
	}
}

// watch reads events until the watch ends, each behind its length in four bytes.
func (t *tallies) watch(ctx context.Context, c *rest.Config) error {
	w, err := newWriterAs(ctx, c)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	defer context.AfterFunc(ctx, func() { w.conn.Close() })() // ends the reads
	r, err := w.ask("GET", deploymentsPath+"?watch=1", protobufType+";stream=watch", nil)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(r.Body, readBuffer)
	var length [4]byte
	var frame []byte
	for {
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return err
		}
		frame = slices.Grow(frame[:0], int(binary.BigEndian.Uint32(length[:])))[:binary.BigEndian.Uint32(length[:])]
		if _, err := io.ReadFull(in, frame); err != nil {
			return err
		}
		if err := t.take(frame); err != nil {
			return err
		}
	}
}

// take reads of an event what it needs: the Deployment's name and its status.
func (t *tallies) take(frame []byte) error {
	var e metav1.WatchEvent
	if err := e.Unmarshal(frame); err != nil {
		return err
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(bytes.TrimPrefix(e.Object.Raw, []byte("k8s\x00"))); err != nil {
		return err
	}
	if envelope.Kind != "Deployment" {
		return fmt.Errorf("a watch says %s of a %s", e.Type, envelope.Kind)
	}
	var status appsv1.DeploymentStatus
	if err := status.Unmarshal(protoField(envelope.Raw, 3)); err != nil {
		return err
	}
	t.change(string(protoField(protoField(envelope.Raw, 1), 1)), tally{int(status.Replicas), int(status.ReadyReplicas)})
	return nil
}

// protoField is the first field of bytes with a number, in an object's protobuf form; nil if there is none.
func protoField(b []byte, number protowire.Number) []byte {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return nil
		}
		b = b[size:]
		if n == number && kind == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			return v
		}
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return nil
		}
		b = b[size:]
	}
	return nil
}

func (t *tallies) change(name string, now tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.of[name]
	t.sums.pods += now.pods - was.pods
	t.sums.ready += now.ready - was.ready
	t.of[name] = now
}

func (t *tallies) sum() tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sums
}
