package netproxy

import "sync/atomic"

// TargetName names a service port in counters and logs.
type TargetName struct {
	Namespace, Name string
	Port            uint16
	Protocol        Protocol
}

// Counters are sums since the port first appeared; Active is the number held now.
type Counters struct {
	Connections uint64 // TCP connections accepted, or UDP sessions opened
	Active      int64  // of them, those not ended yet
	BytesIn     uint64 // from clients to endpoints
	BytesOut    uint64 // from endpoints to clients
	Retries     uint64 // dials that failed and were tried on another endpoint
	Errors      uint64 // connections reset or datagrams dropped because no endpoint took them
}

// counters is one loop's share; a multiple of a cache line long.
type counters struct {
	connections, ended, bytesIn, bytesOut, retries, errors atomic.Uint64

	latency latency
	_       [48]byte
}

func (c *Counters) add(s *counters) {
	opened, ended := s.connections.Load(), s.ended.Load()
	c.Connections += opened
	c.Active += int64(opened) - int64(ended)
	c.BytesIn += s.bytesIn.Load()
	c.BytesOut += s.bytesOut.Load()
	c.Retries += s.retries.Load()
	c.Errors += s.errors.Load()
}

func (t *target) counters() Counters {
	var c Counters
	for i := range t.stats {
		c.add(&t.stats[i])
	}
	return c
}
