package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	floodClients = 512 // half of them list, a quarter writes, a quarter watches
	floodObjects = 200 // that each list has
	floodWarmUp  = 3 * time.Second
)

// benchFairness asks how a client that reads and writes now and then is served, alone and beside another user's clients, who list, write and
// watch as fast as they are let. It is an ordinary user; the other one is so too, or is of system:masters, whom no flow schema limits.
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
	people := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "people"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "people"}}}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(ctx, people, metav1.CreateOptions{}); err != nil {
		return err
	}
	alone, err := askQuietly(ctx, l, leader, "alone")
	if err != nil {
		return err
	}
	for _, group := range []string{"people", "system:masters"} {
		if err := besideFlood(ctx, l, t, leader, group, alone); err != nil {
			return err
		}
	}
	return nil
}

// besideFlood has the other user be one of a group.
func besideFlood(ctx context.Context, l *rig.Lab, t *table, leader, group string, alone quiet) error {
	f, err := newFlood(ctx, l, leader, group)
	if err != nil {
		return err
	}
	before, _ := usages(l)
	ownBefore := ownSeconds()
	if *profiles != "" {
		wait, perr := profileAll(ctx, l, "fairness-"+f.group)
		if perr != nil {
			return perr
		}
		defer func() { fmt.Println(wait()) }()
	}
	began := time.Now()
	beside, err := askQuietly(ctx, l, leader, "beside-"+f.group)
	seconds := time.Since(began).Seconds()
	writes, watches, lists := each(&f.writes, seconds), each(&f.watches, seconds), each(&f.lists, seconds)
	after, _ := usages(l)
	t.told("  processor time: bench, leader "+leader, fmt.Sprintf("%.2f", (ownSeconds()-ownBefore)/seconds))
	for n, u := range after {
		t.told("   "+n, fmt.Sprintf("%.2f", (u.cpuSeconds-before[n].cpuSeconds)/seconds))
	}
	if ended := f.end(); err != nil || ended != nil {
		return errors.Join(err, ended)
	}
	what := fmt.Sprintf("a quiet client's p99 beside %d clients of another user, of %s, to its p99 alone: ", floodClients, group)
	for _, kind := range []struct {
		name          string
		alone, beside []time.Duration
	}{{"reads", alone.Reads, beside.Reads}, {"writes", alone.Writes, beside.Writes}} {
		a, b := quantile(kind.alone, 0.99), quantile(kind.beside, 0.99)
		t.told(what+kind.name, fmt.Sprintf("%.1f : 1", b/a))
		t.told("  alone and beside, p50", fmt.Sprintf("%.1f and %.1f ms", quantile(kind.alone, 0.5), quantile(kind.beside, 0.5)))
		t.told("  alone and beside, p99", fmt.Sprintf("%.1f and %.1f ms", a, b))
	}
	t.told("  of the others meanwhile: lists, writes, watches; told to wait", fmt.Sprintf("%s, %s, %s; %s /s", lists, writes, watches, each(&f.refused, seconds)))
	return nil
}

func each(n *atomic.Int64, seconds float64) string {
	return fmt.Sprintf("%.0f", float64(n.Load())/seconds)
}

// flood are the other user's clients.
type flood struct {
	lists, writes, watches atomic.Int64 // that were answered
	refused                atomic.Int64
	group                  string // without what names cannot have

	stop    context.CancelFunc
	clients []*writer
	working *errgroup.Group
}

// newFlood connects all clients before any of them asks, so that the flood is the same however long the others' connections take beside it.
func newFlood(ctx context.Context, l *rig.Lab, server, group string) (*flood, error) {
	kubeconfig, err := userKubeconfig(ctx, l, server, "flood", group)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	f := &flood{stop: stop, group: strings.TrimPrefix(group, "system:")}
	f.working, ctx = errgroup.WithContext(ctx)
	for range floodClients {
		w, err := newWriterAs(ctx, config)
		if err != nil {
			return nil, errors.Join(err, f.end())
		}
		f.clients = append(f.clients, w)
	}
	for i, w := range f.clients {
		f.working.Go(func() error { return f.work(ctx, w, i) })
	}
	if err := pause(ctx, floodWarmUp); err != nil {
		return nil, errors.Join(err, f.end())
	}
	for _, n := range []*atomic.Int64{&f.lists, &f.writes, &f.watches, &f.refused} { // what was before is not of the seconds that are measured
		n.Store(0)
	}
	return f, nil
}

// userKubeconfig has the credentials of a user of one group.
func userKubeconfig(ctx context.Context, l *rig.Lab, server, name, group string) ([]byte, error) {
	b, err := l.Admin(ctx, server, "server", http.MethodGet, fmt.Sprintf("/kubeconfig?user=%s&groups=%s&life=1h", name, group))
	if err != nil {
		return nil, err
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	return []byte(text), nil
}

// work asks without a pause until ctx ends; only who is told to wait does.
func (f *flood) work(ctx context.Context, w *writer, n int) error {
	for i := 0; ctx.Err() == nil; i++ {
		err := f.ask(w, n, i)
		switch {
		case err == nil:
			f.kind(n).Add(1)
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

// kind is what the client of a number does.
func (f *flood) kind(n int) *atomic.Int64 {
	switch n % 4 {
	case 0:
		return &f.writes
	case 1:
		return &f.watches
	}
	return &f.lists
}

func (f *flood) ask(w *writer, n, i int) error {
	switch f.kind(n) {
	case &f.writes:
		return w.create(smallMap(fmt.Sprintf("flood-%s-%d-%d", f.group, n, i)))
	case &f.watches:
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
