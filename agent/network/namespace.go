package network

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// home is the network namespace of the node with a netlink socket in it.
type home struct {
	ns netns.NsHandle
	*netlink.Handle
}

// openHome takes the namespace of the calling thread.
func openHome() (*home, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("opening the node's network namespace: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return &home{ns: ns, Handle: h}, nil
}

func (h *home) close() {
	h.Handle.Close()
	h.ns.Close()
}

// run calls f on a thread that is in the namespace: /proc/sys/net shows the one of its reader.
func (h *home) run(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// A thread whose namespace was changed is never unlocked: it ends with its goroutine.
		runtime.LockOSThread()
		here, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("finding the thread's network namespace: %w", err)
			return
		}
		defer here.Close()
		if here.Equal(h.ns) {
			defer runtime.UnlockOSThread()
		} else if err := netns.Set(h.ns); err != nil {
			done <- fmt.Errorf("entering the node's network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// openPod opens a pod's namespace and makes sure that it is not the node's own.
func (h *home) openPod(path string) (netns.NsHandle, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return netns.None(), fmt.Errorf("opening the pod's network namespace: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	ns := netns.NsHandle(fd)
	if ns.Equal(h.ns) {
		ns.Close()
		return netns.None(), fmt.Errorf("%s is the network namespace of the node, not of a pod", path)
	}
	return ns, nil
}
