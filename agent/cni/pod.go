package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	result "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Attach runs ADD for the pod whose network namespace is at path netns, and returns its addresses: one of each family, those of
// the family of the node's first CIDR first. A pod that is attached there already, and of which the plugins say that all is as
// it was, keeps its addresses; any other attachment of it is removed first.
func (n *Network) Attach(ctx context.Context, uid, netns string) ([]netip.Addr, error) {
	defer n.lock(uid).Unlock()
	cidrs, err := n.ready()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	ips, err := n.attach(ctx, uid, netns, cidrs)
	if err != nil {
		return nil, fmt.Errorf("attaching pod %s to network %q: %w", uid, n.list.Name, err)
	}
	n.mu.Lock()
	n.own[uid] = true
	n.mu.Unlock()
	return ips, nil
}

func (n *Network) attach(ctx context.Context, uid, path string, cidrs []netip.Prefix) ([]netip.Addr, error) {
	space, err := openSpace(path)
	if err != nil {
		return nil, err
	}
	if ips, ok := n.standing(ctx, uid, path, space, cidrs); ok {
		return ips, nil
	}
	if err := n.detach(ctx, uid); err != nil {
		return nil, err
	}
	pod := n.cfg.Pod(uid)
	if pod == nil {
		return nil, fmt.Errorf("the node knows of no such pod")
	}
	if err := raiseLoopback(path); err != nil {
		return nil, err
	}
	rt := runtimeConf(pod, path, space, cidrs)
	r, err := n.cni.AddNetworkList(ctx, n.list, rt)
	var ips []netip.Addr
	if err == nil {
		ips, err = addresses(r, cidrs)
	}
	if err != nil { // what earlier plugins of the list did must not stay
		return nil, errors.Join(err, n.del(context.WithoutCancel(ctx), n.list, rt))
	}
	return ips, nil
}

// standing are the addresses of a pod whose attachment is what it should be.
func (n *Network) standing(ctx context.Context, uid, path, space string, cidrs []netip.Prefix) ([]netip.Addr, bool) {
	kept, err := n.cni.GetCachedAttachments(uid)
	if err != nil || len(kept) != 1 || kept[0].Network != n.list.Name || kept[0].CapabilityArgs[capSpace] != space {
		return nil, false
	}
	list, rt, err := recall(kept[0])
	if err != nil {
		return nil, false
	}
	// Plugins compare the path with the one that they were given. A container runtime and this agent have names of their own for one namespace.
	if known, err := openSpace(rt.NetNS); err != nil || known != space {
		rt.NetNS = path
	}
	if err := n.verify(ctx, list, rt); err != nil {
		n.log.Warn("a pod's network is not as it was made; making it anew", "pod", uid, "error", err)
		return nil, false
	}
	r, err := n.cni.GetNetworkListCachedResult(list, rt)
	if err != nil || r == nil {
		return nil, false
	}
	ips, err := addresses(r, cidrs)
	return ips, err == nil
}

// verify runs CHECK for one plugin after the other, so that the error can name it.
func (n *Network) verify(ctx context.Context, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
	for _, p := range list.Plugins {
		one := *list
		one.Plugins = []*libcni.PluginConfig{p}
		err := n.cni.CheckNetworkList(ctx, &one, rt)
		if errors.Is(err, libcni.ErrorCheckNotSupp) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("plugin type=%q failed (check): %w", p.Network.Type, err)
		}
	}
	return nil
}

// addresses are those of a result that are the pod's, one of each family.
func addresses(r cnitypes.Result, cidrs []netip.Prefix) ([]netip.Addr, error) {
	got, err := result.GetResult(r)
	if err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	var out []netip.Addr
	for _, c := range got.IPs {
		if i := c.Interface; i != nil && *i >= 0 && *i < len(got.Interfaces) && got.Interfaces[*i].Sandbox == "" {
			continue // of a link of the node
		}
		a, ok := netip.AddrFromSlice(c.Address.IP)
		a = a.Unmap()
		if ok && !slices.ContainsFunc(out, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("its plugins gave the pod no address: one of them needs an ipam section")
	}
	if len(out) == 2 && len(cidrs) > 0 && out[0].Is4() != cidrs[0].Addr().Is4() {
		slices.Reverse(out)
	}
	return out, nil
}

// Detach runs DEL with what the pod was added with. A pod that was not attached is no error.
func (n *Network) Detach(ctx context.Context, uid string) error {
	defer n.lock(uid).Unlock()
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	if err := n.detach(ctx, uid); err != nil {
		return fmt.Errorf("detaching pod %s from its network: %w", uid, err)
	}
	n.mu.Lock()
	delete(n.own, uid)
	n.mu.Unlock()
	return nil
}

// detach also tells the plugins of a pod of which nothing is kept: an agent may have ended while they were at work. What they say to
// that holds nobody up, since mostly they never heard of the pod.
func (n *Network) detach(ctx context.Context, uid string) error {
	kept, err := n.cni.GetCachedAttachments(uid)
	if err != nil {
		return err
	}
	if len(kept) == 0 {
		n.mu.Lock()
		cidrs := n.cidrs
		n.mu.Unlock()
		unknown := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}
		if err := n.del(ctx, n.list, runtimeConf(unknown, "", "", cidrs)); err != nil {
			n.log.Debug("what a pod may have had of its network could not be removed", "pod", uid, "error", err)
		}
		return nil
	}
	var faults []error
	for _, a := range kept {
		faults = append(faults, n.remove(ctx, a))
	}
	return errors.Join(faults...)
}

// remove runs DEL for an attachment. Its namespace is named only if it is still the same: its path names a process, whose
// number may be another's by now.
func (n *Network) remove(ctx context.Context, a *libcni.NetworkAttachment) error {
	list, rt, err := recall(a)
	if err != nil {
		return err
	}
	if space, err := openSpace(rt.NetNS); err != nil || a.CapabilityArgs[capSpace] != space {
		rt.NetNS = ""
	}
	return n.del(ctx, list, rt)
}

func (n *Network) del(ctx context.Context, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	return n.cni.DelNetworkList(ctx, list, rt)
}

// recall is what an attachment was made with.
func recall(a *libcni.NetworkAttachment) (*libcni.NetworkConfigList, *libcni.RuntimeConf, error) {
	list, err := libcni.NetworkConfFromBytes(a.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration that pod %s was attached with: %w", a.ContainerID, err)
	}
	return list, &libcni.RuntimeConf{ContainerID: a.ContainerID, NetNS: a.NetNS, IfName: a.IfName, Args: a.CniArgs, CapabilityArgs: a.CapabilityArgs}, nil
}

// Keep looks after what an earlier agent left: pods in uids are checked, all others detached.
func (n *Network) Keep(ctx context.Context, uids map[string]bool) {
	all, err := n.cni.GetCachedAttachments("")
	if err != nil {
		n.log.Error("cannot read which pods are attached to the network", "error", err)
		return
	}
	args := &libcni.GCArgs{}
	for _, a := range all {
		if n.look(ctx, a, uids) {
			args.ValidAttachments = append(args.ValidAttachments, cnitypes.GCAttachment{ContainerID: a.ContainerID, IfName: a.IfName})
		}
	}
	n.collect(ctx, args)
}

// look says whether the attachment stays.
func (n *Network) look(ctx context.Context, a *libcni.NetworkAttachment, uids map[string]bool) bool {
	defer n.lock(a.ContainerID).Unlock()
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	n.mu.Lock()
	own := n.own[a.ContainerID]
	n.mu.Unlock()
	if own {
		return true
	}
	if !uids[a.ContainerID] {
		if err := n.remove(ctx, a); err != nil {
			n.log.Error("a pod that is gone keeps its address for now", "pod", a.ContainerID, "error", err)
			return true
		}
		return false
	}
	list, rt, err := recall(a)
	if err == nil {
		err = n.verify(ctx, list, rt)
	}
	if err != nil {
		n.log.Warn("a pod's network is not as it was made", "pod", a.ContainerID, "error", err)
	}
	return true
}

// collect has plugins of version 1.1 on forget what they hold for nobody. It waits for pods that are being attached: they are not listed.
func (n *Network) collect(ctx context.Context, args *libcni.GCArgs) {
	for i := range n.locks {
		n.locks[i].Lock()
		defer n.locks[i].Unlock()
	}
	fresh, err := n.cni.GetCachedAttachments("")
	if err != nil {
		return
	}
	for _, a := range fresh {
		one := cnitypes.GCAttachment{ContainerID: a.ContainerID, IfName: a.IfName}
		if !slices.Contains(args.ValidAttachments, one) {
			args.ValidAttachments = append(args.ValidAttachments, one)
		}
	}
	if err := n.cni.GCNetworkList(ctx, n.list, args); err != nil {
		n.log.Warn("the network's plugins could not forget what pods that are gone had", "network", n.list.Name, "error", err)
	}
}

// openSpace tells network namespaces apart: its answer is the namespace's, as long as it exists. The node's own is refused.
func openSpace(path string) (string, error) {
	var pod, own unix.Stat_t
	if err := unix.Stat(path, &pod); err != nil {
		return "", fmt.Errorf("finding the pod's network namespace: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	if err := unix.Stat("/proc/self/ns/net", &own); err != nil {
		return "", fmt.Errorf("finding the node's network namespace: %w", err)
	}
	if pod.Dev == own.Dev && pod.Ino == own.Ino {
		return "", fmt.Errorf("%s is the network namespace of the node, not of a pod", path)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d", strings.TrimSpace(string(boot)), pod.Ino), nil
}

// raiseLoopback sets lo up, which plugins leave to who starts them.
func raiseLoopback(path string) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("opening the pod's network namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a netlink socket in the pod: %w", err)
	}
	defer h.Close()
	if err := h.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}
