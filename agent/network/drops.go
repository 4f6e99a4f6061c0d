package network

import (
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// drops removes links, all at once that wait to be removed. For each removal by itself the kernel waits until no processor uses the
// link any more, some 10 to 20 ms in which it makes no other either; for many together it waits once.
type drops struct {
	home *home

	mu      sync.Mutex
	waiting []drop
	busy    bool // somebody removes, and takes the others' links too
}

// drop is one link that is to go.
type drop struct {
	link netlink.Link
	done chan error // of capacity 1
}

// remove returns when the link is gone. One that is not there is no error.
func (d *drops) remove(l netlink.Link) error {
	own := drop{l, make(chan error, 1)}
	d.mu.Lock()
	d.waiting = append(d.waiting, own)
	if d.busy {
		d.mu.Unlock()
		return <-own.done
	}
	d.busy = true
	for len(d.waiting) > 0 {
		batch := d.waiting
		d.waiting = nil
		d.mu.Unlock()
		d.removeAll(batch)
		d.mu.Lock()
	}
	d.busy = false
	d.mu.Unlock()
	return <-own.done
}

// removeAll removes the links of a batch by the group that they are put into, and by itself each that could not be.
func (d *drops) removeAll(batch []drop) {
	grouped := make([]bool, len(batch))
	if len(batch) > 1 {
		for i, one := range batch {
			grouped[i] = d.home.LinkSetGroup(one.link, dropGroup) == nil
		}
		if d.home.run(removeGroup) != nil {
			clear(grouped)
		}
	}
	for i, one := range batch {
		var err error
		if !grouped[i] {
			err = d.home.LinkDel(one.link)
		}
		if err != nil && !missing(err) {
			err = fmt.Errorf("removing link %s: %w", one.link.Attrs().Name, err)
		} else {
			err = nil
		}
		one.done <- err
	}
}

func removeGroup() error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(dropGroup)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
