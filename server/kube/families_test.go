package kube_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/server/kube"
)

func TestFamiliesOfServices(t *testing.T) {
	for _, six := range []bool{true, false} {
		h, ctx := start(t, func(c *kube.Config) {
			if six {
				c.ServiceCIDR6 = netip.MustParsePrefix("fd00:43::/112")
			}
		}), context.Background()
		for i, c := range []struct {
			policy       corev1.IPFamilyPolicy
			families     []corev1.IPFamily
			ips          []string
			want, single string // families and policy, or part of the error; in a cluster of both families, and of one
		}{
			{"", nil, nil, "[IPv4] SingleStack", "[IPv4] SingleStack"},
			{"PreferDualStack", nil, nil, "[IPv4 IPv6] PreferDualStack", "[IPv4] PreferDualStack"},
			{"RequireDualStack", nil, nil, "[IPv4 IPv6] RequireDualStack", "this cluster is not configured for dual-stack services"},
			{"RequireDualStack", []corev1.IPFamily{"IPv6"}, nil, "[IPv6 IPv4] RequireDualStack", "not configured on this cluster"},
			{"", []corev1.IPFamily{"IPv6"}, nil, "[IPv6] SingleStack", "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"},
			{"", []corev1.IPFamily{"IPv4", "IPv6"}, nil, "[IPv4 IPv6] RequireDualStack", "not configured on this cluster"},
			{"SingleStack", []corev1.IPFamily{"IPv4", "IPv6"}, nil, "must be RequireDualStack or PreferDualStack", "must be RequireDualStack or PreferDualStack"},
			{"PreferDualStack", nil, []string{"fd00:43::9"}, "[IPv6 IPv4] PreferDualStack", "not configured on this cluster"},
			{"PreferDualStack", nil, []string{"None"}, "[IPv4 IPv6] PreferDualStack", "[IPv4] PreferDualStack"},
		} {
			in := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i)}, Spec: corev1.ServiceSpec{IPFamilies: c.families, ClusterIPs: c.ips, Ports: []corev1.ServicePort{{Port: 80}}}}
			if c.policy != "" {
				in.Spec.IPFamilyPolicy = &c.policy
			}
			if len(c.ips) > 0 {
				in.Spec.ClusterIP = c.ips[0]
			}
			want := c.want
			if !six {
				want = c.single
			}
			s, err := h.client.CoreV1().Services("default").Create(ctx, in, metav1.CreateOptions{})
			if err != nil {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("both %v, case %d: %v, want %s", six, i, err, want)
				}
				continue
			}
			if got := fmt.Sprint(s.Spec.IPFamilies, " ", *s.Spec.IPFamilyPolicy); got != want {
				t.Errorf("both %v, case %d: %s, want %s", six, i, got, want)
			}
			for k, ip := range s.Spec.ClusterIPs {
				if a, err := netip.ParseAddr(ip); ip != "None" && (err != nil || a.Is6() != (s.Spec.IPFamilies[k] == "IPv6")) {
					t.Errorf("case %d has addresses %v", i, s.Spec.ClusterIPs)
				}
			}
			if s.Spec.ClusterIP != "None" && len(s.Spec.ClusterIPs) != len(s.Spec.IPFamilies) || s.Spec.ClusterIP != s.Spec.ClusterIPs[0] {
				t.Errorf("case %d has addresses %v", i, s.Spec.ClusterIPs)
			}
		}
	}
}

// The second address comes and goes with the policy; the first one stays.
func TestSecondFamilyComesAndGoes(t *testing.T) {
	h, ctx := start(t, func(c *kube.Config) { c.ServiceCIDR6 = netip.MustParsePrefix("fd00:43::/112") }), context.Background()
	services := h.client.CoreV1().Services("default")
	s, err := services.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := s.Spec.ClusterIP
	for _, c := range []struct {
		policy corev1.IPFamilyPolicy
		count  int
	}{{corev1.IPFamilyPolicyPreferDualStack, 2}, {corev1.IPFamilyPolicySingleStack, 1}, {corev1.IPFamilyPolicyRequireDualStack, 2}} {
		s.Spec.IPFamilyPolicy = &c.policy
		if s, err = services.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if len(s.Spec.ClusterIPs) != c.count || len(s.Spec.IPFamilies) != c.count || s.Spec.ClusterIP != first {
			t.Fatalf("%s: %v %v", c.policy, s.Spec.ClusterIPs, s.Spec.IPFamilies)
		}
	}
}
