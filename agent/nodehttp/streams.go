package nodehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/peapod-sh/peapod/agent/runtime"
)

const (
	// idleTimeout ends a stream on which nothing has moved.
	idleTimeout = 4 * time.Hour
	// dialTimeout bounds the connection to a forwarded port.
	dialTimeout = 10 * time.Second
)

// options reads which streams are asked for, as the API server's clients spell it or as a kubelet's do.
func options(r *http.Request) (*remotecommand.Options, error) {
	o := &remotecommand.Options{
		Stdin: flag(r, "stdin", remotecommand.ExecStdinParam), Stdout: flag(r, "stdout", remotecommand.ExecStdoutParam),
		Stderr: flag(r, "stderr", remotecommand.ExecStderrParam), TTY: flag(r, remotecommand.ExecTTYParam),
	}
	if o.TTY {
		o.Stderr = false // a terminal has one output
	}
	if !o.Stdin && !o.Stdout && !o.Stderr {
		return nil, errors.New("you must specify at least 1 of stdin, stdout, stderr")
	}
	return o, nil
}

func (h *handler) exec(w http.ResponseWriter, r *http.Request) {
	p, id := h.running(w, r)
	if p == nil {
		return
	}
	opts, err := options(r)
	command := r.URL.Query()["command"]
	if err == nil && len(command) == 0 {
		err = errors.New("you must specify at least one command for the container")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, execer{h.node, id}, p.Name, string(p.UID), r.PathValue("container"), command, opts,
		idleTimeout, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

// execer runs a command in one container.
type execer struct {
	node Node
	id   string
}

// ExecInContainer is called by ServeExec with the client's streams.
func (e execer) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, errw io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	var code int
	err := joined(ctx, in, out, errw, tty, resize, func(ctx context.Context, spec runtime.ExecSpec) (err error) {
		spec.Args = cmd
		code, err = e.node.Exec(ctx, e.id, spec)
		return err
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

// joined calls run with the client's streams.
func joined(ctx context.Context, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize,
	run func(context.Context, runtime.ExecSpec) error) error {
	spec := runtime.ExecSpec{TTY: tty}
	if in != nil {
		spec.Stdin = in
	}
	if out != nil {
		spec.Stdout = out
	}
	if errw != nil {
		spec.Stderr = errw
	}
	ctx, cancel := context.WithCancel(ctx)
	var pump sync.WaitGroup
	if tty {
		sizes := make(chan runtime.WindowSize, 1)
		spec.Resize = sizes
		pump.Go(func() { pumpSizes(ctx, resize, sizes) })
	}
	err := run(ctx, spec)
	cancel()
	pump.Wait()
	return err
}

func pumpSizes(ctx context.Context, in <-chan remotecommand.TerminalSize, out chan<- runtime.WindowSize) {
	defer close(out)
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-in:
			if !ok {
				return
			}
			select {
			case out <- runtime.WindowSize{Width: s.Width, Height: s.Height}:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (h *handler) attach(w http.ResponseWriter, r *http.Request) {
	p, id := h.running(w, r)
	if p == nil {
		return
	}
	opts, err := options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := attacher{h: h, pod: p, id: id}
	remotecommand.ServeAttach(w, r, a, p.Name, string(p.UID), r.PathValue("container"), opts,
		idleTimeout, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

// Inputs is a Node whose containers' inputs can be written: a terminal's master or a pipe, closed by the
// caller. CloseStdin lets the container read the end of its input.
type Inputs interface {
	Stdin(ctx context.Context, containerID string) (*os.File, error)
	CloseStdin(ctx context.Context, containerID string) error
}

// Attachers is a Node that may join containers' streams itself; nil is that it does not.
type Attachers interface {
	Attacher() func(ctx context.Context, containerID string, spec runtime.ExecSpec) error
}

// attacher joins a container: its output as it is logged from now on, its input where the node offers it.
type attacher struct {
	h   *handler
	pod *corev1.Pod
	id  string
}

// AttachContainer is called by ServeAttach with the client's streams.
func (a attacher) AttachContainer(ctx context.Context, _, _, container string, in io.Reader, out, errw io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize) error {
	if node, ok := a.h.node.(Attachers); ok {
		if attach := node.Attacher(); attach != nil {
			return joined(ctx, in, out, errw, tty, resize, func(ctx context.Context, spec runtime.ExecSpec) error { return attach(ctx, a.id, spec) })
		}
	}
	path, err := a.h.node.LogFile(a.pod, container, false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var feed sync.WaitGroup
	defer feed.Wait()
	defer cancel()
	l := &logReader{opts: logOptions{follow: true, tail: 0, limit: -1}, flush: func() {}, alive: a.h.alive(a.pod, container)}
	if node, ok := a.h.node.(Inputs); ok && in != nil {
		file, err := node.Stdin(ctx, a.id)
		if err != nil {
			return err
		}
		defer file.Close()
		if c, ok := in.(io.Closer); ok {
			defer c.Close() // lets the copy end
		}
		// What the container says to its input must not be logged before the end of the log is found.
		l.begun = func() { feed.Go(func() { a.feed(ctx, node, file, in, container) }) }
		if tty {
			feed.Go(func() { resizeTerminal(ctx, file, resize) })
		}
	}
	if out != nil {
		l.out, l.err = out, out
	}
	if errw != nil {
		l.err = errw
	}
	return l.read(ctx, path)
}

// feed copies the client's input; its end is the container's only if the container asked for that (stdinOnce).
func (a attacher) feed(ctx context.Context, node Inputs, file *os.File, in io.Reader, container string) {
	_, _ = io.Copy(file, in) // whichever side ended it, there is nobody to tell
	if ctx.Err() != nil {
		return
	}
	for i := range a.pod.Spec.Containers {
		if c := &a.pod.Spec.Containers[i]; c.Name == container && c.StdinOnce && !c.TTY {
			file.Close()                   // ours too: a pipe ends when nobody can write to it any more
			_ = node.CloseStdin(ctx, a.id) // the container may have ended meanwhile
		}
	}
}

func resizeTerminal(ctx context.Context, file *os.File, sizes <-chan remotecommand.TerminalSize) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			size := &unix.Winsize{Row: s.Height, Col: s.Width}
			_ = unix.IoctlSetWinsize(int(file.Fd()), unix.TIOCSWINSZ, size) // a pipe has no size
		}
	}
}

func (h *handler) portForward(w http.ResponseWriter, r *http.Request) {
	p := h.pod(w, r)
	if p == nil {
		return
	}
	if p.Status.PodIP == "" {
		http.Error(w, fmt.Sprintf("pod %s has no address yet", p.Name), http.StatusBadRequest)
		return
	}
	for _, s := range r.URL.Query()["ports"] { // the API's name for what the protocol calls port
		q := r.URL.Query()
		q.Add(portforward.PortHeader, s)
		r.URL.RawQuery = q.Encode()
	}
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{p.Status.PodIP}, p.Name, string(p.UID), opts,
		idleTimeout, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

// forwarder connects streams to a pod's ports.
type forwarder struct{ ip string }

// PortForward copies both ways until both have ended.
func (f forwarder) PortForward(ctx context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(f.ip, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("failed to connect to port %d of pod %s: %w", port, name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(conn, stream) // an end of either side ends the forwarding, whatever the reason
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	_, err = io.Copy(stream, conn)
	stream.Close() // lets the other copy end
	up.Wait()
	if errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
