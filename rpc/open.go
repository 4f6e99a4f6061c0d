package rpc

import (
	"context"
	"time"
)

// open takes a slot, opens a stream and writes its head and request.
func (c *Conn) open(ctx context.Context, method string, kind kind, request any) (*Stream, error) {
	select {
	case c.outbound <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.Done():
		return nil, ErrLost
	}
	raw, err := c.session.OpenStream()
	if err != nil {
		<-c.outbound
		return nil, lost(err)
	}
	s := &Stream{raw: raw, ctx: ctx}
	stop := context.AfterFunc(ctx, func() { cut(raw) })
	s.detach = stop
	s.release = func() {
		stop()
		<-c.outbound
	}
	if err := writeFrame(raw, frameOpen, MaxMessageBytes, opening{Method: method, Kind: kind, Timeout: timeLeft(ctx, kind)}, request); err != nil {
		err = s.failure(err)
		s.Close()
		return nil, err
	}
	return s, nil
}

// timeLeft tells a call's handler the deadline. A stream's end is told by closing it.
func timeLeft(ctx context.Context, kind kind) int64 {
	deadline, has := ctx.Deadline()
	if !has || kind != kindCall {
		return 0
	}
	return max(1, int64(time.Until(deadline)))
}
