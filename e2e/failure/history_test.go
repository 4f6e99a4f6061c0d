package failure

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// input is a write of a value to a register, or a read of it.
type input struct {
	key, value string
	write      bool
}

// registers are the model: a string a key; an operation whose outcome is unknown may take effect at any later time.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(input).key
			by[k] = append(by[k], o)
		}
		var out [][]porcupine.Operation
		for _, list := range by {
			out = append(out, list)
		}
		return out
	},
	Init: func() any { return "0" },
	Step: func(state, in, out any) (bool, any) {
		if i := in.(input); i.write {
			return true, i.value
		}
		return out == state, state
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%v -> %v", in, out) },
}

const (
	historyKeys    = 4
	historyClients = 2 // a server
)

// Reads and writes through all servers, while leaders die, look as if there were one copy and one order.
func TestLinearizable(t *testing.T) {
	c := open(t)
	for k := range historyKeys {
		_, err := c.CoreV1().ConfigMaps("default").Create(c.ctx, configMap(register(k), "0"), metav1.CreateOptions{})
		must(t, err)
	}
	h := &history{began: time.Now()}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, s := range c.Servers() {
		for j := range historyClients {
			id := i*historyClients + j
			k := c.client(s)
			wg.Go(func() { h.run(c.ctx, k, id, stop) })
		}
	}
	for range 2 {
		time.Sleep(1500 * time.Millisecond)
		leader, err := c.Leader(c.ctx)
		must(t, err)
		c.do("kill", leader)
		_, err = c.Leader(c.ctx, leader)
		must(t, err)
		time.Sleep(time.Second)
		c.do("restart", leader)
		awaitServer(t, c, leader)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d operations, %d of them writes of unknown outcome", len(h.list), h.unknown)
	if len(h.list) < 200 {
		t.Errorf("only %d operations; that shows little", len(h.list))
	}
	if r := porcupine.CheckOperationsTimeout(registers, h.list, time.Minute); r != porcupine.Ok {
		t.Errorf("the history is not that of registers: %v", r)
	}
}

func register(k int) string { return fmt.Sprintf("register-%d", k) }

type history struct {
	began time.Time

	mu      sync.Mutex
	list    []porcupine.Operation
	unknown int
}

// run writes and reads at random until stop.
func (h *history) run(ctx context.Context, k kubernetes.Interface, id int, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.IntN(10)) * time.Millisecond):
		}
		in := input{key: register(rand.IntN(historyKeys)), write: rand.IntN(2) == 0}
		if in.write {
			in.value = fmt.Sprintf("%d.%d", id, n)
		}
		one, cancel := context.WithTimeout(ctx, 3*time.Second)
		call := time.Since(h.began)
		out, err := in.do(one, k)
		cancel()
		h.add(porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(h.began))}, err)
	}
}

// do is one attempt: the client's own retries would make one operation of several.
func (i input) do(ctx context.Context, k kubernetes.Interface) (string, error) {
	rest := k.CoreV1().RESTClient()
	m := &corev1.ConfigMap{}
	if i.write {
		return "", rest.Put().MaxRetries(0).Namespace("default").Resource("configmaps").Name(i.key).Body(configMap(i.key, i.value)).Do(ctx).Into(m)
	}
	err := rest.Get().MaxRetries(0).Namespace("default").Resource("configmaps").Name(i.key).Do(ctx).Into(m)
	return m.Data["value"], err
}

// add keeps what tells something: a failed read does not, and a failed write may yet have happened, at any time.
func (h *history) add(o porcupine.Operation, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	write := o.Input.(input).write
	switch {
	case err == nil:
	case !write || neverSent(err):
		return
	default:
		h.unknown++
		o.Return = int64(time.Hour)
	}
	h.list = append(h.list, o)
}

// neverSent tells that no server can have seen the request.
func neverSent(err error) bool {
	var s apierrors.APIStatus
	if e, ok := err.(apierrors.APIStatus); ok {
		s = e
	}
	if s != nil && s.Status().Code == http.StatusTooManyRequests {
		return true
	}
	return strings.Contains(err.Error(), "connect: connection refused")
}
