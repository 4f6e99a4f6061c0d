package lab

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netns"
)

// spawn starts a command in a node's namespace and cgroup, from its first instruction on. The caller
// waits for the returned command.
func spawn(n Node, cmd *exec.Cmd) (Process, error) {
	c, err := openCgroup(n.Cgroup)
	if err != nil {
		return Process{}, err
	}
	if err := c.create(); err != nil {
		return Process{}, err
	}
	var p Process
	err = onThread(func() error {
		if err := enterNamespace(n); err != nil {
			return err
		}
		into, leave, err := c.enterThread()
		if err != nil {
			return err
		}
		defer leave()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		if into != nil {
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(into.Fd())
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting %s on %s: %w", cmd.Path, n.Name, err)
		}
		p, err = identify(cmd.Process.Pid)
		return err
	})
	return p, err
}

// enterNamespace moves the calling thread into a node's network.
func enterNamespace(n Node) error {
	ns, err := netns.GetFromName(n.Namespace)
	if err != nil {
		return fmt.Errorf("the network namespace of %s is missing: %w; end the lab with 'peapod lab down'", n.Name, err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("entering the network namespace of %s: %w", n.Name, err)
	}
	return nil
}

// agentCommand is the agent of a node, with its output going to the end of the node's log.
func agentCommand(binary string, n Node, token string) (*exec.Cmd, *os.File, error) {
	if err := os.MkdirAll(n.DataDir(), 0o700); err != nil {
		return nil, nil, fmt.Errorf("making the directory of %s: %w", n.Name, err)
	}
	log, err := os.OpenFile(n.LogFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the log of %s: %w", n.Name, err)
	}
	cmd := exec.Command(binary, n.Args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "PEAPOD_TOKEN="+token) // not an argument, which everybody could read
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, log, nil
}
