package node

import (
	"fmt"
	"net/netip"

	"github.com/peapod-sh/peapod/agent/network"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// secondFamily are the networks of clusters that have IPv6 too; not valid in others.
func secondFamily(r *wire.Registered) (services, pods netip.Prefix, err error) {
	if r.ServiceCIDR6 == "" || r.ClusterCIDR6 == "" {
		return services, pods, nil
	}
	if services, err = netip.ParsePrefix(r.ServiceCIDR6); err == nil {
		pods, err = netip.ParsePrefix(r.ClusterCIDR6)
	}
	if err != nil {
		return services, pods, fmt.Errorf("the cluster's IPv6 networks: %w", err)
	}
	return services, pods, nil
}

// findSecond finds the node's own IPv6 address in clusters of both families. A node without one serves IPv6 to its pods all the same.
func (n *node) findSecond(services netip.Prefix) {
	if !services.IsValid() {
		return
	}
	six, err := n.cfg.Address6, error(nil)
	if !six.IsValid() {
		six, err = network.SecondAddress(n.cfg.Address)
	}
	if err != nil {
		n.log.Warn("this node has no IPv6 address of its own: node ports and load balancers are not reached here by IPv6", "error", err)
		return
	}
	n.addresses = append(n.addresses, six)
}

// resolvers is where the cluster's DNS listens: an address of each family, the second of which is not valid in clusters of one.
func (n *node) resolvers(r *wire.Registered) (out [2]netip.AddrPort, err error) {
	for i, text := range []string{r.DNSAddress, r.DNSAddress6} {
		if i > 0 && text == "" {
			break
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return out, fmt.Errorf("the cluster's DNS address: %w", err)
		}
		out[i] = netip.AddrPortFrom(a, dnsPort)
	}
	return out, nil
}

const dnsPort = 53

// nameservers are the addresses of the cluster's DNS; a pod is told of those of its own families.
func nameservers(at [2]netip.AddrPort) []netip.Addr {
	if !at[1].IsValid() {
		return []netip.Addr{at[0].Addr()}
	}
	return []netip.Addr{at[0].Addr(), at[1].Addr()}
}
