package failure

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// journal is what was acknowledged to writers that never stop.
type journal struct {
	prefix string
	stop   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	acked map[string]string
}

// startWriting starts a writer for every server; they go on through errors.
func startWriting(c *cluster, prefix string) *journal {
	j := &journal{prefix: prefix, stop: make(chan struct{}), acked: map[string]string{}}
	for _, s := range c.Servers() {
		maps := c.client(s).CoreV1().ConfigMaps("default")
		j.wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-j.stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				name := fmt.Sprintf("%s-%s-%d", prefix, s, i)
				ctx, cancel := context.WithTimeout(c.ctx, 3*time.Second)
				_, err := maps.Create(ctx, configMap(name, name), metav1.CreateOptions{})
				cancel()
				if err == nil {
					j.ack(name)
				}
			}
		})
	}
	c.t.Cleanup(j.end)
	return j
}

func (j *journal) ack(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acked[name] = name
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.acked)
}

func (j *journal) end() {
	select {
	case <-j.stop:
	default:
		close(j.stop)
	}
	j.wg.Wait()
}

// awaitMore waits until n more writes were acknowledged.
func (j *journal) awaitMore(t *testing.T, n int) {
	t.Helper()
	want := j.count() + n
	for deadline := time.Now().Add(patience); j.count() < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("writes do not succeed any more")
		}
	}
}

// check ends the writers and asks every server for all that was acknowledged.
func (j *journal) check(c *cluster) {
	c.t.Helper()
	j.end()
	for _, s := range c.Servers() {
		list, err := c.client(s).CoreV1().ConfigMaps("default").List(c.ctx, metav1.ListOptions{})
		must(c.t, err)
		have := map[string]string{}
		for _, m := range list.Items {
			have[m.Name] = m.Data["value"]
		}
		for name, value := range j.acked {
			if have[name] != value {
				c.t.Errorf("%s has lost the acknowledged %s (it has %q)", s, name, have[name])
			}
		}
	}
	c.t.Logf("%d acknowledged writes are all there", len(j.acked))
}

// visitor asks a service again and again, by a new connection each time.
type visitor struct {
	stop   chan struct{}
	done   chan struct{}
	asked  int
	faults []error
}

func startVisiting(c *cluster, node string, port int) *visitor {
	c.t.Helper()
	n, err := c.Node(node)
	must(c.t, err)
	v := &visitor{stop: make(chan struct{}), done: make(chan struct{})}
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	url := fmt.Sprintf("http://%s:%d/", n.Address, port)
	// The node hears of endpoints a moment after the API shows them.
	must(c.t, rig.Await(c.ctx, 5*time.Millisecond, "a first visit", func(context.Context) (bool, error) { return visit(client, url) == nil, nil }))
	go func() {
		defer close(v.done)
		for {
			select {
			case <-v.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			v.asked++
			if err := visit(client, url); err != nil {
				v.faults = append(v.faults, fmt.Errorf("visit %d: %w", v.asked, err))
			}
		}
	}()
	c.t.Cleanup(v.end)
	return v
}

func visit(client *http.Client, url string) error {
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}

func (v *visitor) end() {
	select {
	case <-v.stop:
	default:
		close(v.stop)
	}
	<-v.done
}

func (v *visitor) check(t *testing.T) {
	t.Helper()
	v.end()
	if len(v.faults) > 0 || v.asked == 0 {
		t.Errorf("%d of %d visits failed, first: %v", len(v.faults), v.asked, v.faults)
	}
	t.Logf("%d visits, none failed", v.asked-len(v.faults))
}
