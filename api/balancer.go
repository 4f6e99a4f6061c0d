package api

const (
	// BalancerClass is the spec.loadBalancerClass of services whose address comes from the cluster's own pool, as it does for those that
	// name no class.
	BalancerClass = "peapod.sh/arp"
	// BalancerNodeAnnotation is the name of the node that announces the address of such a service.
	BalancerNodeAnnotation = "peapod.sh/load-balancer-node"
)
