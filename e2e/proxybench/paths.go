package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// path is one way from the client to a backend. Each has a backend address of its own, lest a connection meets what another
// path's left in TIME_WAIT.
type path struct {
	name    string
	at      netip.Addr // where the client finds it
	backend netip.Addr
	udp     bool
	// open starts it and returns its processes; close ends it. Packet filters are there only while they are measured.
	open  func(ctx context.Context) ([]int, error)
	close func()
	brief bool // open only for the time of a sample
	pids  []int
}

// pathNames in the order of the table.
var pathNames = []string{"peapod", "haproxy-16k", "haproxy-64k", "nginx", "iptables", "nftables"}

// otherBuild begins the name of a path through another build of this program, whose file follows: what a change is worth shows in
// pairs within one run.
const otherBuild = "peapod@"

func (s *site) paths(names []string) ([]*path, error) {
	var out []*path
	for i, name := range names {
		p := &path{name: name, backend: backendAddr(i + 2), at: netip.AddrFrom4([4]byte{10, 98, 1, byte(i + 1)}), udp: true}
		switch {
		case name == "peapod":
			s.peapod(p, "/proc/self/exe")
		case strings.HasPrefix(name, otherBuild):
			s.peapod(p, strings.TrimPrefix(name, otherBuild))
		case strings.HasPrefix(name, "haproxy-"):
			s.haproxy(p, name)
		case name == "nginx":
			s.nginx(p)
		case name == "iptables" || name == "nftables":
			s.dnat(p, name)
		default:
			return nil, fmt.Errorf("no path %q: there are %s", name, strings.Join(pathNames, ", "))
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *site) peapod(p *path, program string) {
	var c *child
	p.open = func(ctx context.Context) (_ []int, err error) {
		if c, err = s.startForeign(ctx, "node", program, "subject", p.at.String(), p.backend.String()); err != nil {
			return nil, err
		}
		return []int{c.pid()}, nil
	}
	p.close = func() { c.end() }
}

func (s *site) haproxy(p *path, name string) {
	p.udp = false // it has none
	size := 16 << 10
	if name == "haproxy-64k" {
		size = 64 << 10
	}
	var text strings.Builder
	fmt.Fprintf(&text, "global\n  nbthread 2\n  maxconn %d\n  tune.bufsize %d\n", files()/2-200, size)
	text.WriteString("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n")
	for _, port := range []int{echoPort, oncePort, bulkPort, idlePort} {
		fmt.Fprintf(&text, "listen l%d\n  bind %s:%d\n  server b %s:%d\n", port, p.at, port, p.backend, port)
	}
	s.daemon(p, name, text.String(), "haproxy", "-db", "-f")
}

func (s *site) nginx(p *path) {
	var text strings.Builder
	fmt.Fprintf(&text, "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\npid %s/nginx.pid;\nerror_log stderr;\ndaemon off;\nuser root;\n", s.dir)
	fmt.Fprintf(&text, "worker_processes 2;\nevents { worker_connections %d; }\nstream {\n  proxy_buffer_size 64k;\n  tcp_nodelay on;\n", files()-200)
	for _, port := range []int{echoPort, oncePort, bulkPort, idlePort} {
		fmt.Fprintf(&text, "  server { listen %s:%d reuseport backlog=4096; proxy_pass %s:%d; }\n", p.at, port, p.backend, port)
	}
	fmt.Fprintf(&text, "  server { listen %s:%d udp reuseport rcvbuf=4m sndbuf=4m; proxy_pass %s:%d; }\n}\n", p.at, datagramPort, p.backend, datagramPort)
	s.daemon(p, "nginx", text.String(), "nginx", "-p", s.dir, "-c")
}

// daemon is a path by a program with a configuration file, whose name ends its arguments.
func (s *site) daemon(p *path, name, config string, program ...string) {
	var cmd *exec.Cmd
	p.open = func(ctx context.Context) ([]int, error) {
		file := filepath.Join(s.dir, name+".conf")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return nil, err
		}
		if err := s.localAddress(p.at); err != nil {
			return nil, err
		}
		cmd = s.foreign(ctx, "node", program[0], append(program[1:], file)...)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		if err := s.answers(ctx, p); err != nil {
			return nil, err
		}
		return append(children(cmd.Process.Pid), cmd.Process.Pid), nil
	}
	p.close = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(gone, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Wait()
	}
}

// children are the processes that a process made; nginx's workers do its work.
func children(pid int) (pids []int) {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(raw)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// localAddress makes a virtual address one of the node.
func (s *site) localAddress(a netip.Addr) error {
	return s.run("node", "ip", "addr", "replace", a.String()+"/32", "dev", "lo")
}

// answers waits until a path carries requests.
func (s *site) answers(ctx context.Context, p *path) (err error) {
	for range 100 {
		var r result
		if r, err = s.load(ctx, order{Kind: "requests", To: netip.AddrPortFrom(p.at, echoPort), Conns: 1, For: 10 * time.Millisecond}); err == nil && r.Ops > 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s does not answer: %w", p.name, err)
}

// dnat is a path by the packet filter. Client and backend are neighbours, so answers pass by the node's filter only if the bridge shows
// it what it carries, as kube-proxy asks for.
func (s *site) dnat(p *path, name string) {
	seen := func(value string) error {
		return s.run("node", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables="+value)
	}
	p.brief = true
	p.open = func(context.Context) ([]int, error) {
		if err := seen("1"); err != nil {
			return nil, err
		}
		if name == "nftables" {
			return nil, s.nft(fmt.Sprintf("table ip bench {\nmap to {\ntype ipv4_addr : ipv4_addr\nelements = { %s : %s }\n}\n"+
				"chain pre {\ntype nat hook prerouting priority dstnat\ndnat to ip daddr map @to\n}\n}\n", p.at, p.backend))
		}
		for _, protocol := range []string{"tcp", "udp"} {
			if err := s.run("node", "iptables", "-t", "nat", "-A", "PREROUTING", "-d", p.at.String(), "-p", protocol, "-j", "DNAT", "--to-destination", p.backend.String()); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	p.close = func() {
		_ = s.nft("flush ruleset") // iptables' rules are nftables', too
		_ = seen("0")
	}
}

func (s *site) nft(text string) error {
	file := filepath.Join(s.dir, "rules-"+strconv.Itoa(len(text))+".nft")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	return s.run("node", "nft", "-f", file)
}
