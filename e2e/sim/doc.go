// Package sim runs whole clusters in virtual time, in one goroutine, by a seed: the real controllers (sched/reconcile), the real
// verdicts on nodes (rpc/liveness), the real arithmetic of leases (rpc/fence) and the real state (fsm) on a modelled log, modelled
// agents and containers, over a network that loses, delays and cuts, with clocks that drift, processes that crash and stall,
// and slow disks; users who scale, load, roll out and rebalance (server/rebalance). After every event the named invariants are checked.
//
// Main flow: New builds a cluster of a seed, Run lets its weather happen, heals it and waits for rest. A seed that fails
// tells its story in one line an event:
//
//	12.345 n2 ✂ s1 s2       the link from n2 to these is cut
//	20.117 n2 ⊘ db-x        its supervisor stops a pod
//	22.020 s3 ✗ db-x        the leader removes it
//
// It must not know: the machine's clock, goroutines, sockets.
package sim
