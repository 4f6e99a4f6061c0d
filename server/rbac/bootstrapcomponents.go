package rbac

import rbacv1 "k8s.io/api/rbac/v1"

// componentRoles are for the parts of a cluster that are clients of its API, and for what is commonly added to one.
func componentRoles() []*rbacv1.ClusterRole {
	approver := func(name string) *rbacv1.ClusterRole {
		return clusterRole("system:certificates.k8s.io:"+name+"-approver", rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/"+name))
	}
	requester := func(name string) *rbacv1.ClusterRole {
		return clusterRole("system:certificates.k8s.io:certificatesigningrequests:"+name,
			rule("create", "certificates.k8s.io", "certificatesigningrequests/"+name))
	}
	return []*rbacv1.ClusterRole{
		clusterRole("system:auth-delegator", reviews()...),
		requester("nodeclient"),
		requester("selfnodeclient"),
		approver("kube-apiserver-client"),
		approver("kube-apiserver-client-kubelet"),
		approver("kubelet-serving"),
		approver("legacy-unknown"),
		clusterRole("system:heapster",
			rule(read, core, "events namespaces nodes pods"),
			rule(read, "extensions", "deployments")),
		clusterRole("system:kube-aggregator",
			rule(read, core, "endpoints services"),
			rule(read, "discovery.k8s.io", "endpointslices")),
		clusterRole("system:kube-controller-manager", controllerManagerRules()...),
		clusterRole("system:kube-dns", rule("list watch", core, "endpoints services")),
		clusterRole("system:kube-scheduler", schedulerRules()...),
		clusterRole("system:kubelet-api-admin",
			rule(read, core, "nodes"),
			rule("proxy", core, "nodes"),
			rule(all, core, "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats")),
		clusterRole("system:node", nodeRules()...),
		clusterRole("system:node-bootstrapper", rule(read+" create", "certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:node-problem-detector",
			rule("get", core, "nodes"),
			rule("patch", core, "nodes/status"),
			events()),
		clusterRole("system:node-proxier",
			rule("list watch", core, "endpoints services"),
			rule(read, core, "nodes"),
			events(),
			rule("list watch", "discovery.k8s.io", "endpointslices"),
			rule("list watch", "networking.k8s.io", "servicecidrs")),
		clusterRole("system:persistent-volume-provisioner",
			rule(read+" create delete", core, "persistentvolumes"),
			rule(read+" update", core, "persistentvolumeclaims"),
			rule(read, "storage.k8s.io", "storageclasses"),
			rule("watch", core, "events"),
			events()),
		clusterRole("system:volume-scheduler",
			rule(read+" patch update", core, "persistentvolumes"),
			rule(read, "storage.k8s.io", "storageclasses"),
			rule(read+" patch update", core, "persistentvolumeclaims")),
	}
}

// reviews let a component ask the API who somebody is and what he may do.
func reviews() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("create", "authentication.k8s.io", "tokenreviews"),
		rule("create", "authorization.k8s.io", "subjectaccessreviews"),
	}
}

// leading lets a component hold the lease of its name.
func leading(name string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("create", "coordination.k8s.io", "leases"),
		rule("get update", "coordination.k8s.io", "leases", name),
	}
}

func controllerManagerRules() []rbacv1.PolicyRule {
	list := append([]rbacv1.PolicyRule{events()}, leading("kube-controller-manager")...)
	list = append(list,
		rule("create", core, "secrets serviceaccounts"),
		rule("delete", core, "secrets"),
		rule("get", core, "configmaps namespaces secrets serviceaccounts"),
		rule("update", core, "secrets serviceaccounts"))
	return append(append(list, reviews()...),
		rule("list watch", all, all),
		rule("create", core, "serviceaccounts/token"))
}

func schedulerRules() []rbacv1.PolicyRule {
	list := append([]rbacv1.PolicyRule{events()}, leading("kube-scheduler")...)
	list = append(list,
		rule(read, core, "nodes"),
		rule(read+" delete", core, "pods"),
		rule("create", core, "bindings pods/binding"),
		rule("patch update", core, "pods/status"),
		rule(read, core, "replicationcontrollers services"),
		rule(read, "apps extensions", "replicasets"),
		rule(read, "apps", "statefulsets"),
		rule(read, "policy", "poddisruptionbudgets"),
		rule(read, core, "persistentvolumeclaims persistentvolumes"))
	return append(append(list, reviews()...),
		rule(read, "storage.k8s.io", "csinodes"),
		rule(read, core, "namespaces"),
		rule(read, "storage.k8s.io", "csidrivers"),
		rule(read, "storage.k8s.io", "csistoragecapacities"),
		rule(read, "resource.k8s.io", "deviceclasses"),
		rule(read+" patch update", "resource.k8s.io", "resourceclaims"),
		rule("patch update", "resource.k8s.io", "resourceclaims/binding resourceclaims/status"),
		rule(read, "resource.k8s.io", "resourceslices"))
}

// nodeRules are what a node may ask for at all; which objects it gets is for whoever authorizes nodes.
func nodeRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("create", "authentication.k8s.io", "tokenreviews"),
		rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
		rule(read, core, "services"),
		rule(read+" create", core, "nodes"),
		rule("patch update", core, "nodes/status"),
		rule("patch update", core, "nodes"),
		rule("create patch update", core, "events"),
		rule(read, core, "pods"),
		rule("create delete", core, "pods"),
		rule("patch update", core, "pods/status"),
		rule("create", core, "pods/eviction"),
		rule(read, core, "configmaps secrets"),
		rule("get", core, "persistentvolumeclaims persistentvolumes"),
		rule("get", core, "endpoints"),
		rule(read+" create", "certificates.k8s.io", "certificatesigningrequests"),
		rule("create delete get patch update", "coordination.k8s.io", "leases"),
		rule("get", "storage.k8s.io", "volumeattachments"),
		rule("create", core, "serviceaccounts/token"),
		rule("get patch update", core, "persistentvolumeclaims/status"),
		rule(read, "storage.k8s.io", "csidrivers"),
		rule("create delete get patch update", "storage.k8s.io", "csinodes"),
		rule(read, "node.k8s.io", "runtimeclasses"),
		rule("get", "resource.k8s.io", "resourceclaims"),
		rule(readWrite, "resource.k8s.io", "resourceslices"),
		rule(read, "certificates.k8s.io", "clustertrustbundles"),
		rule(read+" create", "certificates.k8s.io", "podcertificaterequests"),
	}
}
