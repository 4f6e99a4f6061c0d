package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/peapod-sh/peapod/rpc/wire"
)

// FuzzFrame: a frame that is read is the frame that was sent, within the limit, and leaves what follows it.
func FuzzFrame(f *testing.F) {
	var b bytes.Buffer
	if err := writeFrame(&b, frameOpen, maxJoinBytes, opening{Method: "m", Kind: kindCall, Timeout: 5}, wire.Heartbeat{Sequence: 7}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{frameData, 0, 0, 0, 0, 1})
	f.Add([]byte{frameData, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		kind, payload, err := readFrame(r, maxJoinBytes)
		if err != nil {
			return
		}
		if len(payload) > maxJoinBytes {
			t.Fatalf("%d bytes where %d are the limit", len(payload), maxJoinBytes)
		}
		rest, _ := io.ReadAll(r) // of bytes in memory: never fails
		again := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
		if again = append(append(again, payload...), rest...); !bytes.Equal(in, again) {
			t.Fatalf("%x was read as %x", in, again)
		}
		if o, request, err := split(payload); err == nil && len(request) > len(payload) {
			t.Fatalf("%+v leaves %d bytes of %d", o, len(request), len(payload))
		}
	})
}

// messages is one of each that crosses between agents and servers.
func messages() []any {
	a := wire.ServerAddress{Name: "s1", Address: "10.0.0.1:7440"}
	return []any{
		&opening{Method: "m", Kind: kindStream, Timeout: 1}, &Error{Code: CodeDenied, Message: "no"}, &wire.Empty{},
		&wire.JoinRequest{TokenID: "t", Role: "node", Name: "n", Request: []byte("r")},
		&wire.JoinReply{CA: []byte("c"), Servers: []wire.ServerAddress{a}, Gossip: []string{"g"}, Code: 3},
		&wire.RenewRequest{Request: []byte("r")}, &wire.RenewReply{CA: []byte("c")},
		&wire.Heartbeat{Sequence: 1}, &wire.HeartbeatReply{Sequence: 1, Leader: "s1", Servers: []wire.ServerAddress{a}, LeaderContact: true},
		&wire.Register{Node: []byte("n")}, &wire.Registered{ServiceCIDR: "10.96.0.0/16", APIEndpoints: []string{"e"}},
		&wire.WatchRequest{Resources: []string{"pods"}}, &wire.Event{Type: wire.EventPut, Name: "a", Object: []byte("o"), Revision: 1 << 40},
		&wire.GetRequest{Name: "a"}, &wire.GetReply{Found: true, Object: []byte("o")},
		&wire.WriteRequest{Ops: []byte("o")}, &wire.WriteReply{Results: []byte("r"), Leader: a},
		&wire.TokenRequest{Pod: "p", Seconds: -1}, &wire.TokenReply{Token: "t"}, &wire.ReadIndexReply{Index: 1, NotLeader: true},
		&wire.GoneRequest{Name: "s1"}, &wire.GoneReply{Gone: true}, &wire.AddServerRequest{Name: "s1", API: "a"},
	}
}

// FuzzMessage: a message that can be read means the same after it was written.
func FuzzMessage(f *testing.F) {
	all := messages()
	encoded := func(t testing.TB, m any) []byte {
		var b bytes.Buffer
		if err := writeFrame(&b, frameData, MaxMessageBytes, m); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()[headerBytes:]
	}
	for n, m := range all {
		f.Add(uint8(n), encoded(f, m))
	}
	f.Fuzz(func(t *testing.T, n uint8, in []byte) {
		kind := reflect.TypeOf(all[int(n)%len(all)]).Elem()
		first, again := reflect.New(kind).Interface(), reflect.New(kind).Interface()
		if decode(in, first) != nil {
			return
		}
		if err := decode(encoded(t, first), again); err != nil {
			t.Fatalf("a %s of ours: %v", kind, err)
		}
		if diff := cmp.Diff(first, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-first +again):\n%s", kind, diff)
		}
		if r, ok := first.(*wire.JoinRequest); ok {
			_ = Peer{Role: "node", Name: r.Name}.Validate() // may refuse
		}
	})
}

// FuzzStream: whatever a peer writes into one stream, the others of its connection go on.
func FuzzStream(f *testing.F) {
	var b bytes.Buffer
	for _, o := range []opening{{Method: "echo", Kind: kindCall}, {Method: "talk", Kind: kindStream}, {Method: "raw", Kind: kindStream, Timeout: 1 << 62}} {
		b.Reset()
		for _, v := range []struct {
			kind   byte
			values []any
		}{{frameOpen, []any{o, wire.Heartbeat{Sequence: 1}}}, {frameData, []any{wire.Heartbeat{Sequence: 2}}}, {frameEnd, nil}} {
			if err := writeFrame(&b, v.kind, MaxMessageBytes, v.values...); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(bytes.Clone(b.Bytes()))
	}
	client := fuzzedConn(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		raw, err := client.session.OpenStream()
		if err != nil {
			t.Fatalf("opening a stream: %v", err)
		}
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = raw.Write(in) // the other side may have cut the stream already
		_ = raw.Close()
		if _, err := io.Copy(io.Discard, raw); errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("the stream was neither answered nor closed")
		}
		var reply wire.Heartbeat
		if err := client.Call(t.Context(), "echo", &wire.Heartbeat{Sequence: 9}, &reply); err != nil || reply.Sequence != 9 {
			t.Fatalf("a call afterwards: %+v, %v", reply, err)
		}
	})
}

// fuzzedConn is the client's end of a connection over a pipe, whose other end has a method of each kind.
func fuzzedConn(f *testing.F) *Conn {
	methods := NewMethods()
	Register(methods, "echo", Anyone, func(_ context.Context, _ Caller, r *wire.Heartbeat) (*wire.Heartbeat, error) { return r, nil })
	RegisterStream(methods, "talk", Anyone, func(_ context.Context, _ Caller, r *wire.Heartbeat, s *Stream) error {
		for {
			if err := s.Recv(r); err != nil {
				return err
			}
			if err := s.Send(r); err != nil {
				return err
			}
		}
	})
	RegisterStream(methods, "raw", Anyone, func(_ context.Context, _ Caller, _ *wire.Heartbeat, s *Stream) error {
		c, err := s.Raw()
		if err != nil {
			return err
		}
		_, _ = io.Copy(c, c) // an echo that ends with the stream
		return nil
	})
	here, there := net.Pipe()
	server, err := newConn(context.Background(), there, node1, methods, false, logger(nil))
	if err != nil {
		f.Fatal(err)
	}
	client, err := newConn(context.Background(), here, serverA, nil, true, logger(nil))
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range []*Conn{server, client} {
		go c.serve()
		f.Cleanup(func() { c.Close(); c.Wait() })
	}
	return client
}
