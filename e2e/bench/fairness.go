package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	floodClients = 512 // half of them list, a quarter writes, a quarter watches
	floodObjects = 200 // that each list has
	quietFor     = 10 * time.Second
	quietPause   = 20 * time.Millisecond
)

// benchFairness asks how a client that reads and writes now and then is served, alone and beside another user's clients, who list, write and watch as fast as they are let.
func benchFairness(ctx context.Context, l *rig.Lab, t *table) error {
	leader, c, err := l.LeaderClient(ctx)
	if err != nil {
		return err
	}
	for i := range floodObjects {
		if _, err := c.CoreV1().ConfigMaps("kube-public").Create(ctx, configMap(fmt.Sprint("flood-", i)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("read"), metav1.CreateOptions{}); err != nil {
		return err
	}
	alone, err := quietClient(ctx, l, leader, "alone")
	if err != nil {
		return err
	}
	f, err := newFlood(ctx, l, leader)
	if err != nil {
		return err
	}
	beside, err := quietClient(ctx, l, leader, "beside")
	if ended := f.end(); err != nil || ended != nil {
		return errors.Join(err, ended)
	}
	what := fmt.Sprintf("a quiet client's p99 beside %d clients of another user, to its p99 alone: ", floodClients)
	for _, kind := range []struct {
		name          string
		alone, beside []time.Duration
	}{{"reads", alone.reads, beside.reads}, {"writes", alone.writes, beside.writes}} {
		a, b := quantile(kind.alone, 0.99), quantile(kind.beside, 0.99)
		t.told(what+kind.name, fmt.Sprintf("%.1f : 1", b/a))
		t.told("  alone and beside, p50", fmt.Sprintf("%.1f and %.1f ms", quantile(kind.alone, 0.5), quantile(kind.beside, 0.5)))
		t.told("  alone and beside, p99", fmt.Sprintf("%.1f and %.1f ms", a, b))
	}
	t.told("  requests of the others meanwhile, answered and told to wait", fmt.Sprintf("%d and %d", f.answered.Load(), f.refused.Load()))
	return nil
}

type quiet struct{ reads, writes []time.Duration }

// quietClient reads one object and creates another one by turns.
func quietClient(ctx context.Context, l *rig.Lab, server, name string) (out quiet, err error) {
	w, err := newWriter(ctx, l, server)
	if err != nil {
		return out, err
	}
	defer w.conn.Close()
	for end, i := time.Now().Add(quietFor), 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		began := time.Now()
		if _, err := w.get(readPath, protobufType); err != nil {
			return out, err
		}
		out.reads = append(out.reads, time.Since(began))
		time.Sleep(quietPause)
		began = time.Now()
		if err := w.create(smallMap(fmt.Sprint("quiet-", name, "-", i))); err != nil {
			return out, err
		}
		out.writes = append(out.writes, time.Since(began))
		time.Sleep(quietPause)
	}
	return out, ctx.Err()
}

// flood are the other user's clients.
type flood struct {
	answered, refused atomic.Int64

	stop    context.CancelFunc
	clients []*writer
	working *errgroup.Group
}

func newFlood(ctx context.Context, l *rig.Lab, server string) (*flood, error) {
	config, err := floodConfig(ctx, l, server)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	f := &flood{stop: stop}
	f.working, ctx = errgroup.WithContext(ctx)
	for i := range floodClients {
		w, err := newWriterAs(ctx, config)
		if err != nil {
			return nil, errors.Join(err, f.end())
		}
		f.clients = append(f.clients, w)
		f.working.Go(func() error { return f.work(ctx, w, i) })
	}
	return f, nil
}

// floodConfig are the credentials of another user, who may do everything.
func floodConfig(ctx context.Context, l *rig.Lab, server string) (*rest.Config, error) {
	b, err := l.Admin(ctx, server, "server", http.MethodGet, "/kubeconfig?user=flood&groups=system:masters&life=1h")
	if err != nil {
		return nil, err
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	return clientcmd.RESTConfigFromKubeConfig([]byte(text))
}

// work asks without a pause until ctx ends; only who is told to wait does.
func (f *flood) work(ctx context.Context, w *writer, n int) error {
	for i := 0; ctx.Err() == nil; i++ {
		err := f.ask(w, n, i)
		switch {
		case err == nil:
			f.answered.Add(1)
		case errors.Is(err, errTooMany):
			f.refused.Add(1)
			select {
			case <-time.After(time.Second): // as Retry-After says
			case <-ctx.Done():
			}
		case ctx.Err() == nil:
			return err
		}
	}
	return nil
}

func (f *flood) ask(w *writer, n, i int) error {
	switch n % 4 {
	case 0:
		return w.create(smallMap(fmt.Sprintf("flood-%d-%d", n, i)))
	case 1:
		r, err := w.ask("GET", "/api/v1/namespaces/kube-public/configmaps?watch=true&timeoutSeconds=2", jsonType, nil)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		_, err = io.Copy(io.Discard, r.Body)
		return err
	default:
		_, err := w.get("/api/v1/namespaces/kube-public/configmaps", jsonType)
		return err
	}
}

// end closes the connections and waits.
func (f *flood) end() error {
	f.stop()
	for _, w := range f.clients {
		_ = w.conn.Close() // whoever reads from it knows that it is over
	}
	return f.working.Wait()
}
