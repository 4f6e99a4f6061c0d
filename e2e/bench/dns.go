package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	dnsServer   = "10.43.0.10:53"
	dnsServices = 200
	dnsSockets  = 16
	dnsWindow   = 32 // questions on their way from one socket
	dnsRunning  = 4 * time.Second
	dnsPace     = 10_000 // questions a second for the latency
	dnsLost     = 200 * time.Millisecond
)

// benchDNS asks a node's agent for names of services from the node's own network: as much as it answers, with the
// processor time of an answer, and then at a pace, with the latency. The client shares the processors with the agent.
func benchDNS(ctx context.Context, l *rig.Lab, t *table) error {
	const node = "client1"
	questions, err := dnsQuestions(ctx, l)
	if err != nil {
		return err
	}
	n, err := l.Node(node)
	if err != nil {
		return err
	}
	conns, err := dnsSocketsIn(n.Namespace)
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	if _, err := dnsFlood(conns, questions, time.Second/2); err != nil { // tables come to the node, and what is packed is
		return err
	}
	before, err := agentTime(l, node)
	if err != nil {
		return err
	}
	own, err := ownTime()
	if err != nil {
		return err
	}
	answers, err := dnsFlood(conns, questions, dnsRunning)
	if err != nil {
		return err
	}
	after, err := agentTime(l, node)
	if err != nil {
		return err
	}
	t.above(fmt.Sprintf("DNS answers by one node, its client on the same %d processors", runtime.NumCPU()), float64(answers)/dnsRunning.Seconds(), 60_000, "/s")
	t.below("  processor time of one of them, in the agent", float64((after-before).Microseconds())/float64(answers), 25, "us")
	mine, err := ownTime()
	if err != nil {
		return err
	}
	t.told("  and in the client, who shares the processors", fmt.Sprintf("%.1f us", float64((mine-own).Microseconds())/float64(answers)))
	took, lost := dnsPaced(conns, questions, dnsRunning)
	t.below(fmt.Sprintf("a DNS answer at %d/s, p99", dnsPace), quantile(took, 0.99), 1, "ms")
	t.told("  p50 of the same, and answers missing", fmt.Sprintf("%.3f ms, %d of %d", quantile(took, 0.5), lost, len(took)+lost))
	return nil
}

// ownTime is what this process has used of processors.
func ownTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("reading our own processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// dnsQuestions makes services and packs questions: seven of ten for an address, two for one of the other family, one for
// a name that is not.
func dnsQuestions(ctx context.Context, l *rig.Lab) ([][]byte, error) {
	_, c, err := l.LeaderClient(ctx)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for i := range dnsServices {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("dns-%d", i)}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		if _, err := c.CoreV1().Services("default").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		for j := range 10 {
			name, kind := s.Name, dnsmessage.TypeA
			if j >= 7 {
				kind = dnsmessage.TypeAAAA
			}
			if j == 9 {
				name = "none-" + name
			}
			b, err := (&dnsmessage.Message{Header: dnsmessage.Header{RecursionDesired: true}, Questions: []dnsmessage.Question{{
				Name: dnsmessage.MustNewName(name + ".default.svc.cluster.local."), Type: kind, Class: dnsmessage.ClassINET}}}).Pack()
			if err != nil {
				return nil, err
			}
			out = append(out, b)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

// dnsSocketsIn opens sockets in a network namespace, where they stay.
func dnsSocketsIn(namespace string) (conns []*net.UDPConn, err error) {
	done := make(chan struct{})
	go func() { // its thread ends with it, since it is not unlocked
		defer close(done)
		runtime.LockOSThread()
		var f *os.File
		if f, err = os.Open("/run/netns/" + namespace); err != nil {
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		for range dnsSockets {
			var c net.Conn
			if c, err = net.Dial("udp", dnsServer); err != nil {
				return
			}
			conns = append(conns, c.(*net.UDPConn))
		}
	}()
	<-done
	return conns, err
}

// dnsFlood keeps a window of questions on its way from each socket and counts the answers. What is lost is asked again.
func dnsFlood(conns []*net.UDPConn, questions [][]byte, d time.Duration) (uint64, error) {
	var answers atomic.Uint64
	var g errgroup.Group
	until := time.Now().Add(d)
	for i, c := range conns {
		g.Go(func() error {
			at := i * len(questions) / len(conns)
			p, out, in := ipv4.NewPacketConn(c), make([]ipv4.Message, dnsWindow), make([]ipv4.Message, dnsWindow)
			for j := range in {
				in[j].Buffers = [][]byte{make([]byte, 1500)}
			}
			for free := dnsWindow; time.Now().Before(until); {
				for j := range free {
					out[j].Buffers = [][]byte{questions[(at+j)%len(questions)]}
				}
				at += free
				for sent := 0; sent < free; {
					n, err := p.WriteBatch(out[sent:free], 0)
					if err != nil {
						return err
					}
					sent += n
				}
				_ = c.SetReadDeadline(time.Now().Add(dnsLost))
				n, err := p.ReadBatch(in, 0)
				if free = n; err != nil {
					free = dnsWindow
				}
				answers.Add(uint64(max(n, 0)))
			}
			return nil
		})
	}
	err := g.Wait()
	return answers.Load(), err
}

// dnsPaced asks at dnsPace, and returns how long each answer took and how many did not come.
func dnsPaced(conns []*net.UDPConn, questions [][]byte, d time.Duration) (took []time.Duration, lost int) {
	var mu sync.Mutex
	var group sync.WaitGroup
	each := int(d.Seconds() * dnsPace / float64(len(conns)))
	pause := time.Second * time.Duration(len(conns)) / dnsPace
	for _, c := range conns {
		sent := make([]atomic.Int64, each)
		began := time.Now()
		_ = c.SetReadDeadline(began.Add(d + time.Second))
		group.Go(func() {
			var mine []time.Duration
			for b := make([]byte, 1500); len(mine) < each; {
				if n, err := c.Read(b); err != nil || n < 2 {
					break
				}
				if id := int(binary.BigEndian.Uint16(b)); id < each {
					mine = append(mine, time.Since(began)-time.Duration(sent[id].Load()))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took, lost = append(took, mine...), lost+each-len(mine)
		})
		group.Go(func() {
			for i := range each {
				time.Sleep(time.Until(began.Add(time.Duration(i) * pause)))
				q := slices.Clone(questions[rand.IntN(len(questions))])
				binary.BigEndian.PutUint16(q, uint16(i))
				sent[i].Store(int64(time.Since(began)))
				_, _ = c.Write(q)
			}
		})
	}
	group.Wait()
	return took, lost
}
