package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
)

// errPoolFull is returned when every address of the node's CIDR belongs to a pod.
var errPoolFull = errors.New("every address of the node's pod CIDR is in use")

// pool gives addresses of one CIDR to pods. It is a log on disk and its image in memory; a change is
// written before it is acknowledged. No fsync: the page cache outlives a killed agent, and no pod
// outlives the machine.
//
// Invariants: byPod and byAddr are each other's inverse; no address is both in byAddr and in released;
// the log, read from its start, gives exactly this state.
type pool struct {
	path string

	mu       sync.Mutex
	byPod    map[string]netip.Addr
	byAddr   map[netip.Addr]string
	released []netip.Addr        // free again, the longest free first
	isFree   map[netip.Addr]bool // exactly the members of released
	cidr     netip.Prefix        // invalid before use
	fresh    netip.Addr          // addresses from here on may never have been used
	young    map[string]bool
	file     *os.File
	size     int64 // bytes of whole records in file
	records  int
	torn     bool // a write failed half-way: rewrite before the next
}

// openPool reads the log at path, which need not exist.
func openPool(path string) (p *pool, damaged int, err error) {
	p = &pool{path: path, byPod: map[string]netip.Addr{}, byAddr: map[netip.Addr]string{}, isFree: map[netip.Addr]bool{}, young: map[string]bool{}}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("reading the pod address log: %w", err)
	}
	records, damaged := parseLog(string(text))
	for _, r := range records {
		p.apply(r)
	}
	if err := p.rewrite(); err != nil {
		return nil, 0, err
	}
	return p, damaged, nil
}

// apply changes the image only.
func (p *pool) apply(r record) {
	if pod, ok := p.byAddr[r.addr]; ok {
		delete(p.byPod, pod)
		delete(p.byAddr, r.addr)
	}
	p.forget(r.addr)
	if r.pod == "" {
		p.free(r.addr)
		return
	}
	if old, ok := p.byPod[r.pod]; ok {
		delete(p.byAddr, old)
		p.free(old)
	}
	p.byPod[r.pod], p.byAddr[r.addr] = r.addr, r.pod
}

func (p *pool) free(addr netip.Addr) {
	p.released, p.isFree[addr] = append(p.released, addr), true
}

// forget takes addr out of the released ones; nearly always it is the first.
func (p *pool) forget(addr netip.Addr) {
	if p.isFree[addr] {
		delete(p.isFree, addr)
		i := slices.Index(p.released, addr)
		p.released = slices.Delete(p.released, i, i+1)
	}
}

// use sets the CIDR that addresses come from. Its first address is the gateway's. Addresses outside
// of it that pods hold stay theirs until they are taken anew or released.
func (p *pool) use(cidr netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cidr == cidr {
		return
	}
	p.cidr, p.fresh = cidr, gateway(cidr).Next()
}

// adopt records that addr was found in use by holder, unless its owner is known. The pod that comes to
// Attach with that holder as its own gets the address.
func (p *pool) adopt(holder string, addr netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.byAddr[addr]; known {
		return nil
	}
	return p.write(record{addr: addr, pod: holder})
}

// take returns the pod's address: the one that it has, the one that holder was adopted with, or the
// one that has been free for the longest.
func (p *pool) take(pod, holder string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.young[pod] = true
	if addr, ok := p.byPod[pod]; ok && p.usable(addr) {
		return addr, nil
	}
	addr, ok := p.byPod[holder]
	if !ok || !p.usable(addr) {
		if addr, ok = p.pick(); !ok {
			delete(p.young, pod)
			return netip.Addr{}, fmt.Errorf("%s, %d pods: %w: remove pods or give the node a larger CIDR", p.cidr, len(p.byPod), errPoolFull)
		}
	}
	if err := p.write(record{addr: addr, pod: pod}); err != nil {
		return netip.Addr{}, err
	}
	return addr, nil
}

// pick finds a free address: a never used one, else the first of the released.
func (p *pool) pick() (netip.Addr, bool) {
	for ; p.usable(p.fresh); p.fresh = p.fresh.Next() {
		if _, used := p.byAddr[p.fresh]; !used && !p.isFree[p.fresh] {
			return p.fresh, true
		}
	}
	for _, addr := range p.released {
		if p.usable(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// usable tells whether a pod may have addr: not the network's, the gateway's, or the broadcast one.
func (p *pool) usable(addr netip.Addr) bool {
	return p.cidr.Contains(addr) && p.cidr.Contains(addr.Next()) && gateway(p.cidr).Less(addr)
}

// release takes the pod's address back. A pod without one is no error.
func (p *pool) release(pod string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.young, pod)
	addr, ok := p.byPod[pod]
	if !ok {
		return nil
	}
	return p.write(record{addr: addr})
}

// strangers returns the holders of addresses that known does not know. One that took its address
// after the previous call is passed over once: it may be newer than what the caller knows.
func (p *pool) strangers(known func(holder string) bool) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for pod := range p.byPod {
		if !p.young[pod] && !known(pod) {
			out = append(out, pod)
		}
	}
	clear(p.young)
	slices.Sort(out)
	return out
}

// write appends r to the log and then applies it.
func (p *pool) write(r record) error {
	if p.torn || p.file == nil || p.records > 4*(len(p.byPod)+len(p.released))+logSlackRecords {
		if err := p.rewrite(); err != nil {
			return err
		}
	}
	line := r.String()
	if _, err := p.file.WriteAt([]byte(line), p.size); err != nil {
		p.torn = true
		return fmt.Errorf("writing the pod address log: %w", err)
	}
	p.size += int64(len(line))
	p.records++
	p.apply(r)
	return nil
}

// rewrite replaces the log by the shortest one with the same meaning, in one rename.
func (p *pool) rewrite() error {
	var b strings.Builder
	for _, addr := range p.released {
		b.WriteString(record{addr: addr}.String())
	}
	for _, pod := range slices.Sorted(maps.Keys(p.byPod)) {
		b.WriteString(record{addr: p.byPod[pod], pod: pod}.String())
	}
	f, err := os.OpenFile(p.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("rewriting the pod address log: %w", err)
	}
	if _, err := f.WriteString(b.String()); err != nil {
		f.Close()
		return fmt.Errorf("rewriting the pod address log: %w", err)
	}
	if err := os.Rename(p.path+".new", p.path); err != nil {
		f.Close()
		return fmt.Errorf("rewriting the pod address log: %w", err)
	}
	if p.file != nil {
		p.file.Close()
	}
	p.file, p.size, p.records, p.torn = f, int64(b.Len()), len(p.released)+len(p.byPod), false
	return nil
}

// close gives the file back; the log stays as it is.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// gateway is the first address of a pod CIDR, which the bridge has.
func gateway(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next() }
