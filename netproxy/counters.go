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
	Errors      uint64 // connections reset or datagrams dropped because they could not be passed on
	Refused     uint64 // of them, those because the proxy was full: of connections, sessions, descriptors or ports to dial from
	Displaced   uint64 // UDP sessions that ended early to make room for others of their port
	Unkept      uint64 // dials and sessions from this host's address though the service keeps its clients': see Table.Keeps
}

// counters is one loop's share; a multiple of a cache line long.
type counters struct {
	connections, ended, bytesIn, bytesOut, retries, errors, refused, displaced, unkept atomic.Uint64

	latency latency
	_       [24]byte
}

// refuse counts a connection that the proxy has no room for.
func (c *counters) refuse() {
	c.errors.Add(1)
	c.refused.Add(1)
}

func (c *Counters) add(s *counters) {
	opened, ended := s.connections.Load(), s.ended.Load()
	c.Connections += opened
	c.Active += int64(opened) - int64(ended)
	c.BytesIn += s.bytesIn.Load()
	c.BytesOut += s.bytesOut.Load()
	c.Retries += s.retries.Load()
	c.Errors += s.errors.Load()
	c.Refused += s.refused.Load()
	c.Displaced += s.displaced.Load()
	c.Unkept += s.unkept.Load()
}

func (t *target) counters() Counters {
	var c Counters
	for i := range t.stats {
		c.add(&t.stats[i])
	}
	return c
}
