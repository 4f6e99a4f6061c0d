package api

const (
	// BalancerClass is the spec.loadBalancerClass of services whose address comes from the cluster's own pool, as it does for those that
	// name no class.
	BalancerClass = "peapod.sh/arp"
	// BalancerNodeAnnotation is the name of the node that announces the address of such a service.
	BalancerNodeAnnotation = "peapod.sh/load-balancer-node"
	// ProxyProtocolAnnotation of a service, if it is "v2", has its endpoints told who the client of each TCP connection is.
	ProxyProtocolAnnotation = "peapod.sh/proxy-protocol"
	// KeepSourceAnnotation of a service, if it is "true", has its endpoints see their clients' own addresses. Clients outside the cluster
	// keep theirs where the policy for them is Local, with it or without.
	KeepSourceAnnotation = "peapod.sh/keep-source"
)
