package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A client and the backends are neighbours on the node's bridge, as pods are. Virtual addresses lie beyond the node.
const (
	bridge      = "br0"
	nodeAddr    = "10.20.0.254"
	clientAddr  = "10.20.0.100"
	serviceCIDR = "10.98.0.0/16"
	gone        = 10 * time.Second // for a process that was told to end
)

func backendAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, byte(i)}) }

// site is the three network namespaces and what runs in them.
type site struct {
	prefix  string // of the namespaces' names
	dir     string // for configurations
	backend *child
}

func (s *site) ns(role string) string { return s.prefix + "-" + role }

// build makes the namespaces, with so many addresses of backends.
func build(ctx context.Context, prefix string, backends int) (*site, error) {
	dir, err := os.MkdirTemp("", "proxybench-")
	if err != nil {
		return nil, err
	}
	s := &site{prefix: prefix, dir: dir}
	s.clear() // what a run that was killed left
	if err := s.furnish(backends); err != nil {
		return s, err
	}
	s.backend, err = s.start(ctx, "backend", "backend", strconv.Itoa(backends))
	return s, err
}

func (s *site) furnish(backends int) error {
	var cmds []string
	add := func(format string, args ...any) { cmds = append(cmds, fmt.Sprintf(format, args...)) }
	for _, role := range []string{"node", "client", "backend"} {
		add("netns add %s", s.ns(role))
		add("-n %s link set lo up", s.ns(role))
	}
	node := s.ns("node")
	add("-n %s link add %s type bridge", node, bridge)
	add("-n %s addr add %s/24 dev %s", node, nodeAddr, bridge)
	add("-n %s link set %s up", node, bridge)
	for _, role := range []string{"client", "backend"} {
		add("-n %s link add %s type veth peer name eth0 netns %s", node, role, s.ns(role))
		add("-n %s link set %s master %s up", node, role, bridge)
		add("-n %s link set eth0 up", s.ns(role))
	}
	add("-n %s addr add %s/24 dev eth0", s.ns("client"), clientAddr)
	add("-n %s route add %s via %s", s.ns("client"), serviceCIDR, nodeAddr)
	for i := range backends {
		add("-n %s addr add %s/24 dev eth0", s.ns("backend"), backendAddr(i+1))
	}
	add("-n %s route add default via %s", s.ns("backend"), nodeAddr)
	for _, c := range cmds {
		if err := run("ip", strings.Fields(c)...); err != nil {
			return err
		}
	}
	if err := s.run("node", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"); err != nil {
		return err
	}
	for _, role := range []string{"node", "client"} {
		if err := s.run(role, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65000", "net.ipv4.ip_forward=1"); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) clear() {
	for _, role := range []string{"node", "client", "backend"} {
		_ = exec.Command("ip", "netns", "del", s.ns(role)).Run() // mostly there is none
	}
}

// remove takes everything away again.
func (s *site) remove() {
	if s.backend != nil {
		s.backend.end()
	}
	s.clear()
	_ = os.RemoveAll(s.dir)
}

// run runs a program in a namespace to its end.
func (s *site) run(role, name string, args ...string) error {
	return run("ip", append([]string{"netns", "exec", s.ns(role), name}, args...)...)
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// load has the client do an order.
func (s *site) load(ctx context.Context, o order) (r result, err error) {
	arg, err := json.Marshal(o)
	if err != nil {
		return r, err
	}
	cmd := s.command(ctx, "client", "client", string(arg))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%s to %s: %w: %s", o.Kind, o.To, err, said.Bytes())
	}
	return r, json.Unmarshal(out, &r)
}

// command is this program again, in another part. It ends with this process.
func (s *site) command(ctx context.Context, role string, args ...string) *exec.Cmd {
	return s.foreign(ctx, role, "/proc/self/exe", args...)
}

// foreign is a program in a namespace; ip(8) makes way for it, so that its process is the one started.
func (s *site) foreign(ctx context.Context, role, name string, args ...string) *exec.Cmd {
	if name == "/proc/self/exe" {
		name, _ = os.Executable()
	}
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", s.ns(role), name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	return cmd
}

// child is a part of this program that runs until its input ends, and may be asked by lines.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start returns when the child is ready.
func (s *site) start(ctx context.Context, role string, args ...string) (*child, error) {
	return s.startForeign(ctx, role, "/proc/self/exe", args...)
}

// startForeign starts another build of this program.
func (s *site) startForeign(ctx context.Context, role, program string, args ...string) (*child, error) {
	c := &child{cmd: s.foreign(ctx, role, program, args...)}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := c.out.ReadString('\n'); err != nil || line != "ready\n" {
		c.end()
		return nil, errors.Join(fmt.Errorf("%v did not start: %q", args, line), err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// ask sends a line and reads the answer.
func (c *child) ask(line string, answer any) error {
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		return err
	}
	b, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return json.Unmarshal(b, answer)
}

func (c *child) end() {
	_ = c.in.Close()
	late := time.AfterFunc(gone, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	_ = c.cmd.Wait()
}
