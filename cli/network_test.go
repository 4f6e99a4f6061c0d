package cli

import (
	"strings"
	"testing"
)

// A cluster of IPv6 alone is refused when it is founded, in words that say what to write instead.
func TestNetworksOfClusters(t *testing.T) {
	for _, c := range []struct{ pods, services, fault string }{
		{"10.1.0.0/16", "10.2.0.0/16", ""},
		{"10.1.0.0/16,fd00:1::/48", "10.2.0.0/16,fd00:2::/112", ""},
		{"fd00:1::/48", "fd00:2::/112", "--cluster-cidr: fd00:1::/48 is a network of IPv6 alone, which clusters cannot have yet: name one of IPv4 before it"},
		{"10.1.0.0/16", "fd00:2::/112", "--service-cidr: fd00:2::/112 is a network of IPv6 alone"},
		{"fd00:1::/48,10.1.0.0/16", "10.2.0.0/16", "must be a network of IPv4, and perhaps behind a comma one of IPv6"},
		{"10.1.0.0/16,fd00:1::/48", "10.2.0.0/16", "must both have an IPv6 network, or neither"},
		{"10.1.0.0/16", "10.1.2.0/24", "overlap"},
	} {
		_, err := (&networkFlags{domain: "cluster.local", pods: c.pods, services: c.services}).parse()
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s and %s: %v, want %q", c.pods, c.services, err, c.fault)
		}
	}
}
