package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

// mirrors are the slices that show Endpoints, as lines.
func (w *world) mirrors() (out []string) {
	for _, o := range w.list(EndpointSlices) {
		s := o.obj.(*discoveryv1.EndpointSlice)
		if s.Labels[discoveryv1.LabelManagedBy] != mirrorManager {
			continue
		}
		var list []string
		for _, e := range s.Endpoints {
			list = append(list, fmt.Sprintf("%s:%v", e.Addresses[0], *e.Conditions.Ready))
		}
		out = append(out, fmt.Sprintf("%s %s %d %s", s.Labels[discoveryv1.LabelServiceName], s.AddressType, *s.Ports[0].Port, strings.Join(list, " ")))
	}
	slices.Sort(out)
	return out
}

func (w *world) putEndpoints(labels map[string]string, subsets ...corev1.EndpointSubset) {
	w.put(Endpoints, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", Labels: labels}, Subsets: subsets})
	w.settle()
}

func subset(port int32, ready []string, not ...string) corev1.EndpointSubset {
	s := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Port: port}}}
	for _, ip := range ready {
		s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
	}
	for _, ip := range not {
		s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
	}
	return s
}

func (w *world) wantMirrors(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := w.mirrors(); !slices.Equal(got, want) {
		t.Errorf("%s: mirrors %q, want %q", what, got, want)
	}
}

// TestEndpointsAreMirrored: NW016.
func TestEndpointsAreMirrored(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.putEndpoints(nil, subset(80, []string{"192.0.2.1"}))
	w.wantMirrors(t, "without a service")
	db := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	w.put(Services, db)
	w.settle()
	w.wantMirrors(t, "with one", "db IPv4 80 192.0.2.1:true")
	w.putEndpoints(nil, subset(80, []string{"192.0.2.2", "fd00::1"}, "192.0.2.3"), subset(81, []string{"192.0.2.1"}))
	w.wantMirrors(t, "changed", "db IPv4 80 192.0.2.2:true 192.0.2.3:false", "db IPv4 81 192.0.2.1:true", "db IPv6 80 fd00::1:true")
	for _, o := range w.list(EndpointSlices) {
		w.apply([]ops.Op{&ops.Delete{Resource: EndpointSlices, Namespace: o.ns, Name: o.name, Expect: ops.Any}})
	}
	w.settle()
	w.wantMirrors(t, "restored", "db IPv4 80 192.0.2.2:true 192.0.2.3:false", "db IPv4 81 192.0.2.1:true", "db IPv6 80 fd00::1:true")
	w.putEndpoints(map[string]string{discoveryv1.LabelSkipMirror: "true"}, subset(80, []string{"192.0.2.1"}))
	w.wantMirrors(t, "not wanted")
	w.putEndpoints(nil, subset(80, []string{"192.0.2.1"}))
	w.wantMirrors(t, "wanted again", "db IPv4 80 192.0.2.1:true")
	selecting := db.DeepCopy()
	selecting.Spec.Selector = map[string]string{"app": "db"}
	w.put(Services, selecting)
	w.settle()
	w.wantMirrors(t, "with a selector")
	w.put(Services, db.DeepCopy())
	w.putEndpoints(nil, subset(80, []string{"192.0.2.1"}))
	w.wantMirrors(t, "without one again", "db IPv4 80 192.0.2.1:true")
	w.apply([]ops.Op{&ops.Delete{Resource: Endpoints, Namespace: "default", Name: "db", Expect: ops.Any}})
	w.settle()
	w.wantMirrors(t, "without endpoints")
}

func TestHints(t *testing.T) {
	node, zone := "n1", "east"
	at := discoveryv1.Endpoint{NodeName: &node, Zone: &zone}
	for distribution, want := range map[string]string{
		"": "", corev1.ServiceTrafficDistributionPreferClose: "zone", corev1.ServiceTrafficDistributionPreferSameZone: "zone",
		corev1.ServiceTrafficDistributionPreferSameNode: "node zone", "example.com/unknown": "",
	} {
		h := hintsOf(&corev1.Service{Spec: corev1.ServiceSpec{TrafficDistribution: &distribution}}, &at)
		got := ""
		if h != nil && len(h.ForNodes) == 1 && h.ForNodes[0].Name == node {
			got = "node "
		}
		if h != nil && len(h.ForZones) == 1 && h.ForZones[0].Name == zone {
			got += "zone"
		}
		if got != want {
			t.Errorf("%q: hints %q, want %q", distribution, got, want)
		}
	}
	if h := hintsOf(&corev1.Service{Spec: corev1.ServiceSpec{TrafficDistribution: new(string)}}, &discoveryv1.Endpoint{}); h != nil {
		t.Errorf("an endpoint that is nowhere has hints %v", h)
	}
}

// Hints come and go with what the service says.
func TestSlicesHaveHints(t *testing.T) {
	w := standardWorld(t, 1, 2)
	w.addService("web", "web")
	w.put(Deployments, testDeployment("web", 3))
	w.converge()
	near := corev1.ServiceTrafficDistributionPreferSameNode
	for _, want := range []*string{nil, &near, nil} {
		s := w.objects[ref{Services, "default", "web"}].obj.DeepCopyObject().(*corev1.Service)
		s.Spec.TrafficDistribution = want
		w.put(Services, s)
		w.converge()
		count := 0
		for _, o := range w.list(EndpointSlices) {
			for _, e := range o.obj.(*discoveryv1.EndpointSlice).Endpoints {
				count++
				if hinted := e.Hints != nil && len(e.Hints.ForNodes) == 1 && e.Hints.ForNodes[0].Name == *e.NodeName; hinted != (want != nil) {
					t.Errorf("distribution %q: hints %v of an endpoint on %s", deref(want), e.Hints, *e.NodeName)
				}
			}
		}
		if count != 3 {
			t.Errorf("%d endpoints", count)
		}
	}
}
