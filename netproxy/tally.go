package netproxy

// tally is what a connection or session has carried since its endpoint was told. Endpoints belong to all loops, and a cache line that goes from core to
// core with each packet costs more than the packet's bytes: they are told at each megabyte, and at the end.
type tally struct{ in, out uint64 }

func (t *tally) count(b *backend, fromClient bool, n int) {
	if fromClient {
		t.in += uint64(n)
	} else {
		t.out += uint64(n)
	}
	if t.in+t.out >= tallyBytes {
		t.settle(b)
	}
}

func (t *tally) settle(b *backend) {
	b.bytesIn.Add(t.in)
	b.bytesOut.Add(t.out)
	*t = tally{}
}
