package netproxy

// relay holds a loop's UDP sessions.
type relay struct {
	count int
	most  int
}

func (r *relay) receive(l *loop, ln *listener) {}
func (r *relay) forget(l *loop, ln *listener)  {}
func (r *relay) abandon(l *loop)               {}
func (r *relay) sweep(l *loop, now int64)      {}
func (r *relay) release()                      {}
