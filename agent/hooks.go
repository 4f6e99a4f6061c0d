package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/probe"
	"github.com/peapod-sh/peapod/agent/runtime"
)

// hookTarget is the container that a hook is for.
type hookTarget struct {
	pod  *corev1.Pod
	spec *corev1.Container
	id   string
	ip   string
}

// runHook runs a postStart or preStop handler to its end.
func (a *Agent) runHook(ctx context.Context, t hookTarget, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		code, out, err := a.execOutput(ctx, t.id, h.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("command %q exited with %d: %s", strings.Join(h.Exec.Command, " "), code, out)
		}
		return err
	case h.HTTPGet != nil:
		return hookGet(ctx, t, h.HTTPGet)
	case h.TCPSocket != nil:
		return hookConnect(ctx, t, h.TCPSocket)
	case h.Sleep != nil:
		sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		return ctx.Err()
	}
	return nil
}

func hookGet(ctx context.Context, t hookTarget, get *corev1.HTTPGetAction) error {
	port, err := probe.Port(get.Port, t.spec.Ports)
	if err != nil {
		return err
	}
	host := get.Host
	if host == "" {
		host = t.ip
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	url := probe.URL(get.Scheme, net.JoinHostPort(host, strconv.Itoa(port)), get.Path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	probe.SetHeaders(req, get.HTTPHeaders)
	resp, err := probe.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP hook failed with status code: %d", resp.StatusCode)
	}
	return nil
}

// hookConnect succeeds if the container accepts a connection.
func hookConnect(ctx context.Context, t hookTarget, tcp *corev1.TCPSocketAction) error {
	port, err := probe.Port(tcp.Port, t.spec.Ports)
	if err != nil {
		return err
	}
	host := tcp.Host
	if host == "" {
		host = t.ip
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

// execOutput runs a command in a container and keeps the beginning of what it prints.
func (a *Agent) execOutput(ctx context.Context, id string, args []string) (code int, out string, err error) {
	var buf boundedBuffer
	code, err = a.cfg.Executor.Exec(ctx, id, runtime.ExecSpec{Args: args, Stdout: &buf, Stderr: &buf, Buffered: true})
	return code, buf.String(), err
}

func (a *Agent) runProbeExec(ctx context.Context, containerID string, args []string) (int, string, error) {
	return a.execOutput(ctx, containerID, args)
}

// boundedBuffer keeps the first 10 KiB. Executors write both streams from one goroutine or two.
type boundedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const outputMax = 10 << 10

func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := outputMax - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *boundedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var _ io.Writer = (*boundedBuffer)(nil)
