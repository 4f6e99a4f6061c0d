package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	mdns "github.com/miekg/dns"
)

// loop answers the datagrams of one socket, many with one system call. It waits for nobody: what the table alone decides
// is answered at once, mostly with an answer that was packed before, and a goroutine waits for an upstream.
type loop struct {
	server *Server
	conn   *net.UDPConn
	of     *zone             // the one that packed is of
	packed map[string][]byte // answers by plain.key
	key    []byte            // the newest question's, kept for its memory
	counts counts
}

func newLoop(s *Server, conn *net.UDPConn) *loop {
	return &loop{server: s, conn: conn, packed: map[string][]byte{}}
}

// run answers until ctx ends, and closes the socket.
func (l *loop) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = l.conn.Close() })()
	b, err := newBatch(l.conn)
	if err != nil {
		return ignoreClosed(err)
	}
	for {
		n, err := b.receive()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			l.server.log.Warn("cannot read questions; will try again", "error", err)
			select {
			case <-time.After(readPause):
			case <-ctx.Done():
			}
			continue
		}
		l.answerAll(ctx, b, n)
		if err := b.send(); err != nil {
			l.server.log.Debug("a DNS answer was not sent", "error", err)
		}
	}
}

// answerAll replies to n questions as far as there are answers at once.
func (l *loop) answerAll(ctx context.Context, b *batch, n int) {
	if z := l.server.zone.Load(); z != l.of {
		l.of = z
		clear(l.packed)
	}
	for i := range n {
		if answer := l.answer(ctx, b.question(i), b.client(i), b.room()); len(answer) > 0 {
			b.reply(i, answer)
		}
	}
}

// answer appends the answer to a datagram to dst. It is empty if there is none, or none yet.
func (l *loop) answer(ctx context.Context, b []byte, from netip.AddrPort, dst []byte) []byte {
	p, ok := readPlain(b, l.key[:0])
	if ok {
		l.key = p.key
		if a := l.packed[string(p.key)]; a != nil && len(a) <= p.size {
			l.counts.add(binary.BigEndian.Uint16(b[p.end-4:]), int(a[3]&0xf))
			return p.again(dst, a, b)
		}
	}
	if len(b) < headerBytes || b[2]&bitResponse != 0 {
		return nil // an answer to an answer could go on for ever
	}
	r := new(mdns.Msg)
	if err := r.Unpack(b); err != nil {
		return l.pack(&mdns.Msg{MsgHdr: mdns.MsgHdr{Id: binary.BigEndian.Uint16(b), Response: true, Rcode: mdns.RcodeFormatError}}, 0, dst)
	}
	return l.think(ctx, r, p, from, dst)
}

// think answers what is not remembered.
func (l *loop) think(ctx context.Context, r *mdns.Msg, p plain, from netip.AddrPort, dst []byte) []byte {
	later := false
	m, lasting := l.server.respond(l.of, r, from.Addr(), func(q question) (*mdns.Msg, error) {
		if m := l.server.forward.recall(q, time.Now()); m != nil {
			return m, nil
		}
		later = true
		return nil, errLater
	})
	if later {
		if l.server.later(ctx, l, r, from) {
			return nil
		}
		m, lasting = new(mdns.Msg).SetRcode(r, mdns.RcodeServerFailure), false
	}
	finish(m, r, sizeFor(r))
	dst = l.pack(m, kindOf(r), dst)
	if lasting && p.end > 0 && !m.Truncated && len(dst) > 0 {
		l.remember(p.key, forget(dst))
	}
	return dst
}

// remember keeps an answer until there is another table. When there are too many all go: the next batches bring those back
// that matter.
func (l *loop) remember(key, answer []byte) {
	if len(l.packed) >= packedMax {
		clear(l.packed)
	}
	l.packed[string(key)] = answer
}

func (l *loop) pack(m *mdns.Msg, kind uint16, dst []byte) []byte {
	out, err := m.PackBuffer(dst[:cap(dst)])
	if err != nil {
		l.server.log.Warn("a DNS answer cannot be packed", "error", err)
		return nil
	}
	l.counts.add(kind, m.Rcode)
	return out
}

var errLater = errors.New("an upstream must be asked")

// later has a goroutine wait for upstreams and then answer. It returns false if too many do already.
func (s *Server) later(ctx context.Context, l *loop, r *mdns.Msg, from netip.AddrPort) bool {
	select {
	case s.slots <- struct{}{}:
	default:
		return false
	}
	s.waiting.Go(func() {
		defer func() { <-s.slots }()
		m, _ := s.respond(s.zone.Load(), r, from.Addr(), s.asking(ctx))
		finish(m, r, sizeFor(r))
		out := l.pack(m, kindOf(r), nil)
		if _, err := l.conn.WriteToUDPAddrPort(out, from); err != nil {
			s.log.Debug("a DNS answer was not sent", "client", from, "error", err)
		}
	})
	return true
}

// sizeFor is what fits a datagram to the client.
func sizeFor(r *mdns.Msg) int {
	if opt := r.IsEdns0(); opt != nil {
		return clampSize(opt.UDPSize())
	}
	return udpSizeMin
}

func kindOf(r *mdns.Msg) uint16 {
	if len(r.Question) == 0 {
		return 0
	}
	return r.Question[0].Qtype
}
