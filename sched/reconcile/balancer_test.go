package reconcile

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

func (w *world) setPool(addresses string) {
	w.put(ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: poolNamespace, Name: poolName}, Data: map[string]string{poolField: addresses}})
}

// addBalancer makes or changes a service of type LoadBalancer as a user would.
func (w *world) addBalancer(name string, edit func(*corev1.Service)) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	if o := w.objects[ref{Services, "default", name}]; o != nil {
		s = o.obj.DeepCopyObject().(*corev1.Service)
	}
	if edit != nil {
		edit(s)
	}
	w.put(Services, s)
}

// balancerOf is a service's address and node; "" without.
func (w *world) balancerOf(name string) (ip, node string) {
	o := w.objects[ref{Services, "default", name}]
	if o == nil {
		return "", ""
	}
	s := o.obj.(*corev1.Service)
	for _, in := range s.Status.LoadBalancer.Ingress {
		ip += in.IP
	}
	return ip, s.Annotations[api.BalancerNodeAnnotation]
}

func (w *world) wantBalancer(t *testing.T, name, ip, node string) {
	t.Helper()
	if gotIP, gotNode := w.balancerOf(name); gotIP != ip || gotNode != node {
		t.Errorf("%s has %q on %q, want %q on %q", name, gotIP, gotNode, ip, node)
	}
}

func TestPoolIsRead(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.0/24": "192.0.2.1-192.0.2.254", "192.0.2.0/31": "192.0.2.0-192.0.2.1", "192.0.2.9/32": "192.0.2.9-192.0.2.9", "192.0.2.77/28": "192.0.2.65-192.0.2.78",
		"192.0.2.4-192.0.2.6": "192.0.2.4-192.0.2.6", "192.0.2.4": "192.0.2.4-192.0.2.4", "0.0.0.0/0": "0.0.0.1-255.255.255.254",
		"192.0.2.6-192.0.2.4": "", "fd00::/64": "fd00::1-fd00::ffff:ffff:ffff:ffff", "fd00::1": "fd00::1-fd00::1", "fd00::4-fd00::6": "fd00::4-fd00::6", "fd00::/127": "fd00::-fd00::1", "fe80::1%eth0": "", "192.0.2.4-fd00::1": "", "web": "", "192.0.2.0/33": "",
	} {
		r, err := parseRange(text)
		if got := r.first.String() + "-" + r.last.String(); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%s is read as %s, %v", text, got, err)
		}
	}
}

func TestBalancersGetAddressesAndNodes(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.addBalancer("early", nil)
	w.settle()
	w.wantBalancer(t, "early", "", "") // there is no pool
	w.setPool("192.0.2.10-192.0.2.12, nonsense")
	w.settle()
	w.wantBalancer(t, "early", "192.0.2.10", "n1")
	class := "example.com/other"
	w.addBalancer("other", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &class })
	w.addBalancer("wants", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.12" })
	w.addBalancer("far", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.13" })
	w.addBalancer("next", nil)
	w.settle()
	w.wantBalancer(t, "other", "", "")
	w.wantBalancer(t, "wants", "192.0.2.12", "n1")
	w.wantBalancer(t, "far", "", "")
	w.addBalancer("late", nil)
	w.settle()
	w.wantBalancer(t, "next", "192.0.2.11", "n2")
	w.wantBalancer(t, "late", "", "")
	said := ""
	for _, o := range w.list(Events) {
		said += o.obj.(*corev1.Event).Reason + ": " + o.obj.(*corev1.Event).Message + "\n"
	}
	for _, want := range []string{"192.0.2.13 is not in the pool", "every address of the pool", `"nonsense" is not`, "192.0.2.10 is announced by node n1"} {
		if !strings.Contains(said, want) {
			t.Errorf("no event says %q:\n%s", want, said)
		}
	}
	w.addBalancer("wants", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
	w.settle()
	w.wantBalancer(t, "wants", "", "")
	w.wantBalancer(t, "late", "192.0.2.12", "n1")
	w.apply([]ops.Op{&ops.Delete{Resource: Services, Namespace: "default", Name: "early", Expect: ops.Any}})
	w.addBalancer("far", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "" })
	w.settle()
	w.wantBalancer(t, "far", "192.0.2.10", "n1")
}

// The node's death moves its addresses in the same step, and its return moves none back.
func TestBalancersLeaveDeadNodes(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.setPool("192.0.2.0/24")
	w.addBalancer("a", nil)
	w.addBalancer("b", nil)
	w.settle()
	w.wantBalancer(t, "a", "192.0.2.1", "n1")
	w.wantBalancer(t, "b", "192.0.2.2", "n2")
	w.e.NodeDown("n1")
	out, _ := w.e.Step(w.now)
	w.apply(out)
	w.wantBalancer(t, "a", "192.0.2.1", "n2")
	w.e.NodeUp("n1")
	w.settle()
	w.wantBalancer(t, "a", "192.0.2.1", "n2")
	w.e.NodeDown("n1")
	w.e.NodeDown("n2")
	w.settle()
	w.wantBalancer(t, "a", "192.0.2.1", "n2")
}

// Services get an address of each of their families that the pool has.
func TestBalancersOfTwoFamilies(t *testing.T) {
	w := standardWorld(t, 1, 1)
	of := func(policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &policy, families }
	}
	const single, prefer, require = corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	const four, six = corev1.IPv4Protocol, corev1.IPv6Protocol
	w.setPool("192.0.2.1-192.0.2.9")
	w.addBalancer("prefers", of(prefer, four, six))
	w.addBalancer("requires", of(require, four, six))
	w.addBalancer("six", of(single, six))
	w.settle()
	w.wantBalancer(t, "prefers", "192.0.2.1", "n1")
	w.wantBalancer(t, "requires", "192.0.2.2", "n1") // the one that there is, and an event about the other
	w.wantBalancer(t, "six", "", "")
	said := ""
	for _, o := range w.list(Events) {
		ev := o.obj.(*corev1.Event)
		said += ev.InvolvedObject.Name + ": " + ev.Message + "\n"
	}
	for text, want := range map[string]bool{"requires: the pool of ConfigMap kube-system/peapod-load-balancer has no addresses of IPv6": true,
		"six: the pool of ConfigMap kube-system/peapod-load-balancer has no addresses of IPv6": true, "prefers: the pool": false} {
		if strings.Contains(said, text) != want {
			t.Errorf("that it says %q is not %v:\n%s", text, want, said)
		}
	}
	w.setPool("192.0.2.1-192.0.2.9 fd00:99::/120")
	w.settle()
	w.wantBalancer(t, "prefers", "192.0.2.1fd00:99::1", "n1")
	w.wantBalancer(t, "requires", "192.0.2.2fd00:99::2", "n1")
	w.wantBalancer(t, "six", "fd00:99::3", "n1")
	w.addBalancer("wants", func(s *corev1.Service) { of(require, six, four)(s); s.Spec.LoadBalancerIP = "fd00:99::77" })
	w.addBalancer("wrong", func(s *corev1.Service) { of(single, four)(s); s.Spec.LoadBalancerIP = "fd00:99::78" })
	w.addBalancer("requires", of(single, six))
	w.settle()
	w.wantBalancer(t, "wants", "fd00:99::77192.0.2.2", "n1")
	w.wantBalancer(t, "wrong", "", "")
	w.wantBalancer(t, "requires", "fd00:99::2", "n1")
}

// With a local policy an address is where endpoints are.
func TestLocalBalancersFollowTheirEndpoints(t *testing.T) {
	w := standardWorld(t, 1, 3)
	w.setPool("192.0.2.0/24")
	d := testDeployment("web", 1)
	w.put(Deployments, d)
	w.converge()
	w.addBalancer("web", func(s *corev1.Service) {
		s.Spec.Selector = map[string]string{"app": "web"}
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	})
	w.converge()
	for range 3 {
		var on string
		for node := range w.podsOn() {
			on = node
		}
		w.wantBalancer(t, "web", "192.0.2.1", on)
		w.dead[on] = true
		w.e.NodeDown(on)
		w.converge()
		delete(w.dead, on)
		w.e.NodeUp(on)
		w.converge()
	}
}

// TestNoAddressTwice: Invariant 122, whatever is lost on the way.
func TestNoAddressTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := standardWorld(t, rapid.Uint64().Draw(t, "seed"), 3)
		w.lose = func(op ops.Op) bool {
			_, put := op.(*ops.Put)
			return put && w.stepping && rapid.IntRange(0, 9).Draw(t, "lose") == 0
		}
		size := 0
		for range rapid.IntRange(1, 25).Draw(t, "actions") {
			name := fmt.Sprintf("s%d", rapid.IntRange(1, 6).Draw(t, "service"))
			switch rapid.SampledFrom([]string{"make", "want", "type", "delete", "pool", "down", "up"}).Draw(t, "action") {
			case "make":
				w.addBalancer(name, nil)
			case "want":
				w.addBalancer(name, func(s *corev1.Service) {
					s.Spec.LoadBalancerIP = rapid.SampledFrom([]string{"", "192.0.2.1", "192.0.2.2"}).Draw(t, "ip")
				})
			case "type":
				w.addBalancer(name, func(s *corev1.Service) {
					s.Spec.Type = rapid.SampledFrom([]corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeLoadBalancer}).Draw(t, "type")
				})
			case "delete":
				if w.objects[ref{Services, "default", name}] == nil {
					continue
				}
				w.apply([]ops.Op{&ops.Delete{Resource: Services, Namespace: "default", Name: name, Expect: ops.Any}})
			case "pool":
				size = rapid.IntRange(1, 5).Draw(t, "size")
				w.setPool(fmt.Sprintf("192.0.2.1-192.0.2.%d", size))
			case "down":
				w.e.NodeDown("n1")
			case "up":
				w.e.NodeUp("n1")
			}
			if rapid.Bool().Draw(t, "settle") {
				w.settle()
				checkNoneTwice(t, w)
			}
		}
		w.lose = nil
		w.now = w.now.Add(time.Hour) // what was lost again and again is tried later
		w.converge()
		checkNoneTwice(t, w)
		checkBalancers(t, w, size)
	})
}

func checkNoneTwice(t *rapid.T, w *world) {
	has := map[string]string{}
	for _, o := range w.list(Services) {
		ip, _ := w.balancerOf(o.name)
		if other := has[ip]; ip != "" && other != "" {
			t.Fatalf("%s and %s both have %s", o.name, other, ip)
		}
		has[ip] = o.name
	}
}

// checkBalancers wants addresses that services may have, announced by nodes that live, and none free that somebody waits for.
func checkBalancers(t *rapid.T, w *world, size int) {
	free := size
	var without []string
	for _, o := range w.list(Services) {
		s := o.obj.(*corev1.Service)
		ip, node := w.balancerOf(s.Name)
		switch {
		case ip != "":
			free--
			a := netip.MustParseAddr(ip)
			if last := int(a.As4()[3]); last > size || node == "" || w.e.nodeDown(node) || s.Spec.LoadBalancerIP != "" && s.Spec.LoadBalancerIP != ip || s.Spec.Type != corev1.ServiceTypeLoadBalancer {
				t.Fatalf("%s of type %s, which wants %q, has %s of %d on node %q", s.Name, s.Spec.Type, s.Spec.LoadBalancerIP, ip, size, node)
			}
		case node != "":
			t.Fatalf("%s has no address and node %s", s.Name, node)
		case s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerIP == "":
			without = append(without, s.Name)
		}
	}
	if free > 0 && len(without) > 0 {
		t.Fatalf("%v have no address, and %d are free", without, free)
	}
}
