// Package netproxy carries service traffic: it answers on every virtual address and node port of a Table
// and relays TCP connections and UDP datagrams to the endpoints behind them, in userspace, with no packet
// filter rule. One AnyIP route makes the whole service range local; a virtual address nobody listens on
// refuses by itself.
//
// The main flow: Swap compares the new table with the one in force (state.go), opens and closes listeners
// (listener.go) and publishes one endpoint set a port (target.go). Each loop (loop.go) is one goroutine with its own
// epoll, its own listeners and its own connections; a connection is accepted, dialled to an endpoint
// chosen by choice.go, with retries, and pumped (conn.go) until both directions have ended. Datagrams live
// in the same loops (udp.go).
//
// Swap returns only after every loop has passed a barrier, so no connection that starts afterwards, and no dial
// still under way, goes to an endpoint that the table left out. Established connections end by themselves.
//
// The package must not know where a table comes from: no control plane, no API types, no pods' lives.
package netproxy
