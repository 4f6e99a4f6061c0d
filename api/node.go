package api

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "Node", Resource: "nodes", Singular: "node", ShortNames: []string{"no"},
		ClusterScoped:        true,
		New:                  func() runtime.Object { return &corev1.Node{} },
		NewList:              func() runtime.Object { return &corev1.NodeList{} },
		Default:              with(defaultNode),
		Validate:             check(validateNode),
		ValidateUpdate:       checkOld(keepAddresses(validateNodeUpdate)),
		ValidateStatusUpdate: checkOld(keepAddresses(validateNodeUpdate)),
		ValidateName:         validation.NameIsDNSSubdomain,
		Warnings: warnings(func(n *corev1.Node, _ bool) (out []string) {
			for i, cidr := range n.Spec.PodCIDRs {
				out = append(out, cidrWarnings(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
			}
			return out
		}),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Status", "Whether the node is ready for pods."),
			textColumn("Roles", "What the node is for, by its labels."),
			ageColumn,
			textColumn("Version", "The version of the node's agent."),
			wide(textColumn("Internal-IP", "The node's address inside the cluster.")),
			wide(textColumn("External-IP", "The node's address outside the cluster.")),
			wide(textColumn("OS-Image", "The operating system.")),
			wide(textColumn("Kernel-Version", "The operating system's kernel.")),
			wide(textColumn("Container-Runtime", "What runs the containers.")),
		},
		Row:         row(nodeRow),
		FieldLabels: []string{"spec.unschedulable"},
		Fields: selectable(func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		}),
		HasStatus: true,
		// A node's agent registers its status with the node itself.
		KeepStatusOnCreate: true,
	})
}

// defaultNode: all of a node may be allocated unless it says otherwise.
func defaultNode(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	roundUp(n.Status.Capacity)
	roundUp(n.Status.Allocatable)
	if n.Spec.PodCIDR != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != n.Spec.PodCIDR) {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
}

func nodeRow(n *corev1.Node, now time.Time) []any {
	info := &n.Status.NodeInfo
	return []any{
		n.Name, nodeStatusText(n), nodeRoles(n), age(n.CreationTimestamp, now), info.KubeletVersion,
		nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
		orUnknown(info.OSImage), orUnknown(info.KernelVersion), orUnknown(info.ContainerRuntimeVersion),
	}
}

func orUnknown(s string) string {
	if s == "" {
		return cellUnknown
	}
	return s
}

func nodeStatusText(n *corev1.Node) string {
	text := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			text = "NotReady"
			if c.Status == corev1.ConditionTrue {
				text = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		text += ",SchedulingDisabled"
	}
	return text
}

// nodeRoles reads the labels node-role.kubernetes.io/ROLE and kubernetes.io/role=ROLE.
func nodeRoles(n *corev1.Node) string {
	var roles []string
	for k, v := range n.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if k == "kubernetes.io/role" && v != "" {
			roles = append(roles, v)
		}
	}
	slices.Sort(roles)
	return orNone(strings.Join(slices.Compact(roles), ","))
}

func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return cellNone
}
