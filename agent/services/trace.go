package services

import "github.com/peapod-sh/peapod/netproxy"

// Trace is what a node's proxy does with one service.
type Trace struct {
	Node    string
	Known   uint64 // the revision that the node has heard of
	InForce uint64 // the revision of the table by which its proxy goes
	Ports   []netproxy.PortTrace
}

// Revision is that of the last change that the model has been told of.
func (m *Model) Revision() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live.revision
}
