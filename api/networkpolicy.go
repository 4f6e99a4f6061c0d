package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: networkingv1.SchemeGroupVersion,
		Name:         "NetworkPolicy", Resource: "networkpolicies", Singular: "networkpolicy", ShortNames: []string{"netpol"},
		New:            func() runtime.Object { return &networkingv1.NetworkPolicy{} },
		NewList:        func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
		Default:        with(defaultNetworkPolicy),
		Validate:       check(validateNetworkPolicy),
		ValidateUpdate: checkOld(keepAddresses(func(p, _ *networkingv1.NetworkPolicy) field.ErrorList { return validateNetworkPolicy(p) })),
		Warnings:       warnings(func(p *networkingv1.NetworkPolicy, _ bool) []string { return networkPolicyWarnings(p) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("Pod-Selector", "Which pods of the namespace the policy is about."), ageColumn,
		},
		Row: row(func(p *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), age(p.CreationTimestamp, now)}
		}),
		HasGeneration: true,
	})
}

// defaultNetworkPolicy: each policy is about incoming traffic unless it says otherwise, and about
// outgoing traffic too if it has rules for it.
func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	s := &p.Spec
	for i := range s.Ingress {
		defaultPolicyPorts(s.Ingress[i].Ports)
	}
	for i := range s.Egress {
		defaultPolicyPorts(s.Egress[i].Ports)
	}
	if len(s.PolicyTypes) > 0 {
		return
	}
	s.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(s.Egress) > 0 {
		s.PolicyTypes = append(s.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

func defaultPolicyPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		fillPtr(&ports[i].Protocol, corev1.ProtocolTCP)
	}
}

// networkPolicyWarnings names the ranges that are valid but not in the form in which others write them.
func networkPolicyWarnings(p *networkingv1.NetworkPolicy) (out []string) {
	forEachPeer(&p.Spec, field.NewPath("spec"), func(peer *networkingv1.NetworkPolicyPeer, path *field.Path) {
		if peer.IPBlock == nil {
			return
		}
		block := path.Child("ipBlock")
		out = append(out, cidrWarnings(block.Child("cidr"), peer.IPBlock.CIDR)...)
		for i, except := range peer.IPBlock.Except {
			out = append(out, cidrWarnings(block.Child("except").Index(i), except)...)
		}
	})
	return out
}

// forEachPeer visits the peers of both directions.
func forEachPeer(s *networkingv1.NetworkPolicySpec, spec *field.Path, visit func(*networkingv1.NetworkPolicyPeer, *field.Path)) {
	for i := range s.Ingress {
		for j := range s.Ingress[i].From {
			visit(&s.Ingress[i].From[j], spec.Child("ingress").Index(i).Child("from").Index(j))
		}
	}
	for i := range s.Egress {
		for j := range s.Egress[i].To {
			visit(&s.Egress[i].To[j], spec.Child("egress").Index(i).Child("to").Index(j))
		}
	}
}
