package link

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// keeper keeps one server's connection.
type keeper struct {
	link  *Link
	name  string
	moved chan struct{} // capacity 1: the address has changed

	mu      sync.Mutex
	address string
	conn    *rpc.Conn       // nil while there is none
	contact bool            // the server knows of a leader: what it says is not stale for long
	last    time.Time       // when it last answered, or the connection began
	heard   context.Context // ends when the server falls silent while another one answers; nil without a connection
	hush    context.CancelFunc
	stopped bool
}

// moveTo notes an address and says whether it is another one.
func (k *keeper) moveTo(address string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.address == address {
		return false
	}
	k.address = address
	if k.conn != nil {
		k.conn.Close()
	}
	k.kick()
	return true
}

func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	if k.conn != nil {
		k.conn.Close()
	}
	k.kick()
}

func (k *keeper) kick() {
	select {
	case k.moved <- struct{}{}:
	default:
	}
}

// current is the connection, nil if there is none, and whether its server knows of a leader.
func (k *keeper) current() (conn *rpc.Conn, contact bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil || k.conn.Err() != nil {
		return nil, false
	}
	return k.conn, k.contact
}

// answered notes an answer.
func (k *keeper) answered(contact bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.contact, k.last = contact, time.Now()
	if k.heard != nil && k.heard.Err() != nil {
		k.listenAnew()
	}
}

// quiet says whether the server has left heartbeats unanswered on this connection.
func (k *keeper) quiet(conn *rpc.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.conn == conn && time.Since(k.last) > quietMax
}

// listenAnew makes heard true again.
func (k *keeper) listenAnew() { k.heard, k.hush = context.WithCancel(context.Background()) }

// fellSilent lets those who wait for this server go to another one, if there is one.
func (k *keeper) fellSilent() {
	k.mu.Lock()
	first := k.contact
	k.contact = false
	k.mu.Unlock()
	if first {
		k.link.signal()
	}
	if k.link.contactBeside(k) {
		k.mu.Lock()
		k.hush()
		k.mu.Unlock()
	}
}

// run dials, beats until the connection ends, and begins again.
func (k *keeper) run(ctx context.Context) {
	for pause := redialMin; ctx.Err() == nil; {
		k.mu.Lock()
		address, stopped := k.address, k.stopped
		k.mu.Unlock()
		if stopped {
			return
		}
		began := time.Now()
		err := k.session(ctx, address)
		k.link.log.Debug("no connection to a server", "server", k.name, "address", address, "error", err)
		if time.Since(began) > redialMax {
			pause = redialMin
		}
		select {
		case <-time.After(pause):
		case <-k.moved:
		case <-ctx.Done():
		}
		pause = min(2*pause, redialMax)
	}
}

// session is one connection from dialling to its end.
func (k *keeper) session(ctx context.Context, address string) error {
	dial, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := k.link.dialer.Dial(dial, address, rpc.Peer{Role: pki.RoleServer, Name: k.name})
	cancel()
	if err != nil {
		return err
	}
	defer conn.Wait()
	defer conn.Close()
	k.set(conn)
	defer k.set(nil)
	return k.beat(ctx, conn)
}

func (k *keeper) set(c *rpc.Conn) {
	k.mu.Lock()
	k.conn, k.contact, k.last = c, c != nil, time.Now()
	if c != nil {
		k.listenAnew()
	} else {
		k.hush()
		k.heard, k.hush = nil, nil
	}
	k.mu.Unlock()
	k.link.signal()
}

// beat sends heartbeats and reads the answers until one of them fails or the server falls silent.
func (k *keeper) beat(ctx context.Context, conn *rpc.Conn) error {
	g, ctx := errgroup.WithContext(ctx)
	stream, err := conn.Open(ctx, wire.MethodHeartbeat, &wire.Heartbeats{Nodes: k.link.cfg.Nodes})
	if err != nil {
		return err
	}
	defer stream.Close()
	answers := make(chan uint64, 1) // the newest answered sequence
	g.Go(func() error { return k.listen(stream, answers) })
	g.Go(func() error {
		defer conn.Close() // ends listen
		return k.send(ctx, stream, answers)
	})
	return g.Wait()
}

func (k *keeper) send(ctx context.Context, stream *rpc.Stream, answers <-chan uint64) error {
	last := time.Now()
	for sequence := uint64(1); ; sequence++ {
		table, prompt := k.link.tableInForce()
		if err := stream.Send(&wire.Heartbeat{Sequence: sequence, Table: table}); err != nil {
			return err
		}
		began := time.Now()
		if err := k.link.pace(ctx, prompt); err != nil {
			return err
		}
		if late := time.Since(began) - HeartbeatInterval; late > stallMax {
			last = last.Add(late) // answers may have come and wait to be read
		}
		select {
		case <-answers:
			last = time.Now()
		default:
			switch silence := time.Since(last); {
			case silence > silenceEnd:
				return errSilent
			case silence > silenceMax:
				k.fellSilent()
			}
		}
	}
}

var errSilent = rpc.Errorf(rpc.CodeUnavailable, "the server has not answered for %v", silenceEnd)

func (k *keeper) listen(stream *rpc.Stream, answers chan uint64) error {
	for {
		var reply wire.HeartbeatReply
		if err := stream.Recv(&reply); err != nil {
			return err
		}
		select {
		case answers <- reply.Sequence:
		default: // one is enough to know that it lives
		}
		k.answered(reply.LeaderContact)
		k.link.heard(reply.Leader)
		k.link.learn(reply.Servers)
	}
}
