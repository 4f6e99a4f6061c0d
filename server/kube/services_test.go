package kube_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/server/kube"
)

func TestServicesHaveAddressesOfEveryReadyRange(t *testing.T) {
	h, ctx := start(t, func(c *kube.Config) { c.ServiceCIDR = netip.MustParsePrefix("10.43.0.0/28") }), context.Background()
	make := func(name, ip string) (string, error) {
		s, err := h.client.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
		return s.Spec.ClusterIP, err
	}
	if _, err := make("early", "192.0.2.2"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "The range of valid IPs is 10.43.0.0/28") {
		t.Fatalf("an address of no range: %v", err)
	}
	cidr, err := h.client.NetworkingV1().ServiceCIDRs().Create(ctx, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"},
		Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"192.0.2.0/29"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := make("early", "192.0.2.2"); !apierrors.IsInvalid(err) {
		t.Fatalf("an address of a range that is not ready: %v", err)
	}
	cidr.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Test", LastTransitionTime: metav1.Now()}}
	if _, err := h.client.NetworkingV1().ServiceCIDRs().UpdateStatus(ctx, cidr, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if ip, err := make("chosen", "192.0.2.2"); err != nil || ip != "192.0.2.2" {
		t.Fatalf("%s, %v", ip, err)
	}
	second, seen := netip.MustParsePrefix("192.0.2.0/29"), map[string]bool{}
	for i := range 40 {
		ip, err := make(fmt.Sprintf("s%d", i), "")
		if err != nil {
			if n := len(seen); n != 5 { // of eight: not the network, the broadcast, and the one that was chosen
				t.Fatalf("%d addresses of the second range, then %v", n, err)
			}
			return
		}
		if a := netip.MustParseAddr(ip); second.Contains(a) {
			seen[ip] = true
		}
	}
	t.Fatalf("more services than addresses: %v", seen)
}
