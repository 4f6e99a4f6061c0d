package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Exec implements runtime.Executor.
func (e *Executor) Exec(ctx context.Context, containerID string, spec runtime.ExecSpec) (int, error) {
	_, name, err := e.running(containerID)
	if err != nil {
		return -1, err
	}
	s := streamsOf(spec)
	var code int
	if s.Stdin == nil && !s.Tty && (spec.Buffered || s.Stdout == nil && s.Stderr == nil) {
		code, err = e.execSync(ctx, name, spec.Args, s)
	} else {
		code, err = e.execStream(ctx, name, spec.Args, s)
	}
	if err != nil {
		return -1, fmt.Errorf("running a command in container %s: %w", containerID, err)
	}
	return code, nil
}

// streamsOf is where a command reads and writes; files are streams like others here, since the process is not our child.
func streamsOf(spec runtime.ExecSpec) remotecommand.StreamOptions {
	s := remotecommand.StreamOptions{Stdin: spec.Stdin, Stdout: spec.Stdout, Stderr: spec.Stderr, Tty: spec.TTY}
	if spec.StdinFile != nil {
		s.Stdin = spec.StdinFile
	}
	for _, f := range []struct {
		file *os.File
		to   *io.Writer
	}{{spec.StdoutFile, &s.Stdout}, {spec.StderrFile, &s.Stderr}} {
		if f.file != nil {
			*f.to = f.file
		}
	}
	if spec.TTY {
		s.Stderr = nil
	}
	if spec.Resize != nil {
		s.TerminalSizeQueue = sizes(spec.Resize)
	}
	return s
}

// sizes are a terminal's, until the channel is closed.
type sizes <-chan runtime.WindowSize

// Next implements remotecommand.TerminalSizeQueue.
func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &remotecommand.TerminalSize{Width: size.Width, Height: size.Height}
}

// execSync is the short way: one call, the output at its end.
func (e *Executor) execSync(ctx context.Context, name string, args []string, s remotecommand.StreamOptions) (int, error) {
	out, err := e.callExecSync(ctx, &cri.ExecSyncRequest{ContainerId: name, Cmd: args})
	if err != nil {
		return -1, err
	}
	for _, o := range []struct {
		to   io.Writer
		data []byte
	}{{s.Stdout, out.Stdout}, {s.Stderr, out.Stderr}} {
		if o.to != nil {
			if _, err := o.to.Write(o.data); err != nil {
				return -1, err
			}
		}
	}
	return int(out.ExitCode), nil
}

// callExecSync returns when ctx ends at the latest. The runtime ends a command that runs out of time, but only if the
// call is still there then (containerd 1.6): its time is in whole seconds, so the call outlives its caller by up to one.
func (e *Executor) callExecSync(ctx context.Context, r *cri.ExecSyncRequest) (*cri.ExecSyncResponse, error) {
	if deadline, ok := ctx.Deadline(); ok {
		r.Timeout = int64(max(0, time.Until(deadline))/time.Second) + 1
	}
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(e.ctx, cancel)
	type answer struct {
		out *cri.ExecSyncResponse
		err error
	}
	answers := make(chan answer, 1) // the caller may have gone
	if !e.spawn(func() {
		defer cancel()
		defer stop()
		out, err := e.runtime.ExecSync(call, r)
		answers <- answer{out, err}
	}) {
		cancel()
		return nil, errors.New("the executor is closed")
	}
	select {
	case a := <-answers:
		return a.out, a.err
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel()
		}
		return nil, ctx.Err()
	}
}

// execStream asks for an address of the runtime's streaming server and joins the streams there. A command that reads no
// input may outlive a client that goes away, as in Kubernetes: the interface has no word to end it.
func (e *Executor) execStream(ctx context.Context, name string, args []string, s remotecommand.StreamOptions) (int, error) {
	if s.Stdin == nil && s.Stdout == nil && s.Stderr == nil {
		s.Stdout = io.Discard // a terminal that nobody looks at: the interface wants one stream at least
	}
	r, err := e.runtime.Exec(ctx, &cri.ExecRequest{ContainerId: name, Cmd: args, Tty: s.Tty,
		Stdin: s.Stdin != nil, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil})
	if err != nil {
		return -1, err
	}
	err = stream(ctx, r.Url, s)
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus(), nil
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// Attach joins the streams of a running container: its output from now on, its input if it was made with one. It
// returns when the container or the client has ended.
func (e *Executor) Attach(ctx context.Context, containerID string, spec runtime.ExecSpec) error {
	_, name, err := e.running(containerID)
	if err != nil {
		return err
	}
	s := streamsOf(spec)
	r, err := e.runtime.Attach(ctx, &cri.AttachRequest{ContainerId: name, Tty: s.Tty, Stdin: s.Stdin != nil, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil})
	if err != nil {
		return fmt.Errorf("attaching to container %s: %w", containerID, err)
	}
	return stream(ctx, r.Url, s)
}

// stream speaks SPDY, which every runtime does; it is gone only when the runtimes that know nothing else are.
func stream(ctx context.Context, address string, s remotecommand.StreamOptions) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the runtime's streaming address: %w", err)
	}
	x, err := remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, u)
	if err != nil {
		return err
	}
	return x.StreamWithContext(ctx, s)
}
