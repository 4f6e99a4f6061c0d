package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Objects are roles and bindings of all four kinds.
type Objects struct {
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	Roles               []*rbacv1.Role
	RoleBindings        []*rbacv1.RoleBinding
}

// Bootstrap makes the roles and bindings that every cluster has. Tools and manifests count on their names and on what they allow.
// Each call makes them anew; the caller may change their metadata, but some share rules.
func Bootstrap() Objects {
	o := Objects{
		ClusterRoles: append(userRoles(), componentRoles()...),
		Roles:        namespaceRoles(),
	}
	for _, c := range controllers() {
		name := controllerPrefix + c.name
		o.ClusterRoles = append(o.ClusterRoles, clusterRole(name, c.rules...))
		o.ClusterRoleBindings = append(o.ClusterRoleBindings, clusterBinding(name, account(c.name)))
	}
	o.ClusterRoleBindings = append(o.ClusterRoleBindings, clusterBindings()...)
	o.RoleBindings = namespaceBindings()
	return o
}

const controllerPrefix = "system:controller:"

// bootstrapMeta marks what is the cluster's own, and lets Reconcile keep it up to date.
func bootstrapMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: bootstrapMeta("", name), Rules: rules}
}

func namespaceRole(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: bootstrapMeta(namespace, name), Rules: rules}
}

// clusterBinding gives a role of the cluster to subjects, under the role's own name.
func clusterBinding(name string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: bootstrapMeta("", name), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: clusterRoleKind, Name: name}}
}

func namespaceBinding(namespace, name, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: bootstrapMeta(namespace, name), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: roleKind, Name: role}}
}

func groups(names ...string) (out []rbacv1.Subject) {
	for _, n := range names {
		out = append(out, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: n})
	}
	return out
}

func component(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

// account is a service account of the cluster's own namespace.
func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: name}
}

// Verbs that go together, and the name that the rules below give to the group "".
const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = read + " " + write
	core      = "core"
)

// rule allows verbs on resources of API groups; each argument but the names is a list with spaces in between.
func rule(verbs, apiGroups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: words(verbs), APIGroups: words(apiGroups), Resources: words(resources), ResourceNames: names}
	for i := range r.APIGroups {
		if r.APIGroups[i] == core {
			r.APIGroups[i] = ""
		}
	}
	slices.Sort(r.APIGroups)
	return r
}

// paths allows a verb on paths outside of resources.
func paths(verb string, list ...string) rbacv1.PolicyRule {
	slices.Sort(list)
	return rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: list}
}

func words(s string) []string {
	out := strings.Fields(s)
	slices.Sort(out)
	return out
}

// events allows a component to say what it does.
func events() rbacv1.PolicyRule { return rule("create patch update", "core events.k8s.io", "events") }

// clusterBindings are those of the cluster's roles that are not a controller's.
func clusterBindings() []*rbacv1.ClusterRoleBinding {
	return []*rbacv1.ClusterRoleBinding{
		clusterBinding("cluster-admin", groups(user.SystemPrivilegedGroup)...),
		clusterBinding("system:monitoring", groups(user.MonitoringGroup)...),
		clusterBinding("system:discovery", groups(user.AllAuthenticated)...),
		clusterBinding("system:basic-user", groups(user.AllAuthenticated)...),
		clusterBinding("system:public-info-viewer", groups(user.AllAuthenticated, user.AllUnauthenticated)...),
		clusterBinding("system:service-account-issuer-discovery", groups("system:serviceaccounts")...),
		clusterBinding("system:cluster-trust-bundle-discovery", groups("system:serviceaccounts")...),
		clusterBinding("system:node-proxier", component(user.KubeProxy)),
		clusterBinding("system:kube-controller-manager", component(user.KubeControllerManager)),
		clusterBinding("system:kube-scheduler", component(user.KubeScheduler)),
		clusterBinding("system:volume-scheduler", component(user.KubeScheduler)),
		clusterBinding("system:kube-dns", account("kube-dns")),
		// Nodes are authorized one by one, for what their own pods need; the role is bound to nobody.
		clusterBinding("system:node"),
	}
}

func namespaceRoles() []*rbacv1.Role {
	locking := []rbacv1.PolicyRule{
		rule("get list watch create update", "coordination.k8s.io", "leases"),
		rule("get list watch create update", "coordination.k8s.io", "leasecandidates"),
	}
	return []*rbacv1.Role{
		namespaceRole(metav1.NamespacePublic, "system:controller:bootstrap-signer",
			rule(read, core, "configmaps"),
			rule("update", core, "configmaps", "cluster-info"),
			events()),
		namespaceRole(metav1.NamespaceSystem, "extension-apiserver-authentication-reader",
			rule(read, core, "configmaps", "extension-apiserver-authentication")),
		namespaceRole(metav1.NamespaceSystem, "system::leader-locking-kube-controller-manager", locking...),
		namespaceRole(metav1.NamespaceSystem, "system::leader-locking-kube-scheduler", locking...),
		namespaceRole(metav1.NamespaceSystem, "system:controller:bootstrap-signer", rule(read, core, "secrets")),
		namespaceRole(metav1.NamespaceSystem, "system:controller:cloud-provider", rule(read+" create", core, "configmaps")),
		namespaceRole(metav1.NamespaceSystem, "system:controller:token-cleaner",
			rule(read+" delete", core, "secrets"),
			events()),
	}
}

func namespaceBindings() []*rbacv1.RoleBinding {
	own := func(namespace, name string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
		return namespaceBinding(namespace, name, name, subjects...)
	}
	return []*rbacv1.RoleBinding{
		own(metav1.NamespacePublic, "system:controller:bootstrap-signer", account("bootstrap-signer")),
		namespaceBinding(metav1.NamespaceSystem, "system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader",
			component(user.KubeControllerManager), component(user.KubeScheduler)),
		own(metav1.NamespaceSystem, "system::leader-locking-kube-controller-manager",
			component(user.KubeControllerManager), account("kube-controller-manager"), account("leader-election-controller")),
		own(metav1.NamespaceSystem, "system::leader-locking-kube-scheduler", component(user.KubeScheduler), account("kube-scheduler")),
		own(metav1.NamespaceSystem, "system:controller:bootstrap-signer", account("bootstrap-signer")),
		own(metav1.NamespaceSystem, "system:controller:cloud-provider", account("cloud-provider")),
		own(metav1.NamespaceSystem, "system:controller:token-cleaner", account("token-cleaner")),
	}
}
