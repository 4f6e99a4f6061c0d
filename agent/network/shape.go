package network

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// shapeBurst is the time for which a pod that was quiet may send at any speed; shapeBurstMin is what that is at least, in
	// bytes, so that a large segment passes. shapeWait bounds the queue of what waits, as time.
	shapeBurst    = 0.010 // seconds
	shapeBurstMin = 64 << 10
	shapeWait     = 0.050 // seconds
)

// Shape limits what a pod that is attached receives (ingress) and sends (egress), in bits a second; 0 is no limit. There is a token bucket at either end of its link
// (tc-tbf(8)): only who has CAP_NET_ADMIN in the pod can take the limit of what it sends away.
func (n *Network) Shape(ctx context.Context, podUID, netns string, ingress, egress uint64) error {
	defer n.lock(podUID).Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.shape(podUID, netns, ingress, egress); err != nil {
		return fmt.Errorf("limiting the bandwidth of pod %s: %w", podUID, err)
	}
	return nil
}

func (n *Network) shape(podUID, netns string, ingress, egress uint64) error {
	host, err := n.home.LinkByName(vethName(podUID))
	if err != nil {
		return fmt.Errorf("finding its link: %w", err)
	}
	if err := limit(n.home.Handle, host, ingress); err != nil {
		return fmt.Errorf("of what it receives: %w", err)
	}
	ns, err := n.home.openPod(netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	pod, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a netlink socket in the pod: %w", err)
	}
	defer pod.Close()
	eth, err := pod.LinkByName(podLink)
	if err != nil {
		return fmt.Errorf("finding %s in the pod: %w", podLink, err)
	}
	if err := limit(pod, eth, egress); err != nil {
		return fmt.Errorf("of what it sends: %w", err)
	}
	return nil
}

// limit makes a link send no more than bits a second; 0 takes a limit away.
func limit(h *netlink.Handle, l netlink.Link, bits uint64) error {
	q := bucket(l.Attrs().Index, bits)
	if bits > 0 {
		return h.QdiscReplace(q)
	}
	if err := h.QdiscDel(q); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // there is none
		return err
	}
	return nil
}

func bucket(link int, bits uint64) *netlink.Tbf {
	attrs := netlink.QdiscAttrs{LinkIndex: link, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if bits == 0 {
		return &netlink.Tbf{QdiscAttrs: attrs}
	}
	rate := max(1, bits/8) // bytes a second
	burst := uint32(min(math.MaxUint32/2, max(shapeBurstMin, float64(rate)*shapeBurst)))
	queue := uint32(min(math.MaxUint32/2, float64(rate)*shapeWait))
	return &netlink.Tbf{QdiscAttrs: attrs, Rate: rate, Buffer: netlink.Xmittime(rate, burst), Limit: burst + queue}
}
