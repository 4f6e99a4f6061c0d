package lbtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// people are pods at places that the tests choose: near and far on two nodes, which serve HTTP and UDP, far at a second port too; and one in its
// node's own network.
const people = `
apiVersion: v1
kind: Pod
metadata: {name: near, labels: {app: pair}}
spec: {nodeName: client1, terminationGracePeriodSeconds: 0, containers: [{name: main, image: peapod/demo}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, labels: {app: pair}}
spec:
  nodeName: client2
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: peapod/demo}, {name: more, image: peapod/demo, env: [{name: PORT, value: "9090"}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {nodeName: client1, hostNetwork: true, terminationGracePeriodSeconds: 0, containers: [{name: main, image: peapod/demo, command: [sleep, "100000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: resolver}
spec:
  nodeName: client1
  terminationGracePeriodSeconds: 0
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [corp.example], options: [{name: ndots, value: "2"}]}
  containers: [{name: main, image: peapod/demo}]
`

// scene is a namespace with those pods.
type scene struct {
	*kit.Lab
	kit.Kubectl
	ip map[string]string // of pods
}

func TestServicesAndTheirEndpoints(t *testing.T) {
	l := kit.Shared(t)
	s := &scene{l, l.Kubectl(l.MakeNamespace(t)), map[string]string{}}
	s.In(people).Must(t, "apply", "-f", "-")
	s.Must(t, "wait", "pod/near", "pod/far", "pod/host", "pod/resolver", "--for=condition=Ready", "--timeout=60s")
	for _, p := range []string{"near", "far"} {
		s.ip[p] = s.Must(t, "get", "pod", p, "-o", "jsonpath={.status.podIP}")
	}
	for name, run := range map[string]func(*testing.T){"pods across nodes": s.acrossNodes, "resolver of its own": s.resolver, "slices": s.slices,
		"slices by hand": s.slicesByHand, "endpoints follow pods": s.endpointsFollow, "two protocols": s.twoProtocols, "host ports": s.hostPorts,
		"proxies": s.proxies, "many services": s.manyServices} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
}

// resolver: NW010.
func (s *scene) resolver(t *testing.T) {
	kit.WantMatch(t, s.Must(t, "exec", "resolver", "--", "cat", "/etc/resolv.conf"), `^nameserver 192\.0\.2\.53$`, `^search corp\.example$`, `^options ndots:2$`)
}

// ask wants an answer to a command in a pod.
func (s *scene) ask(t *testing.T, pod, want string, command ...string) {
	t.Helper()
	kit.Eventually(t, limit, fmt.Sprint(pod, " asks ", command), func() error {
		r := s.Try(append([]string{"exec", pod, "--"}, command...)...)
		if !strings.Contains(r.Out, want) {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
}

func (s *scene) http(t *testing.T, pod, url, want string) {
	t.Helper()
	s.ask(t, pod, want, "wget", "-qO-", "-T", "5", url)
}

func (s *scene) udp(t *testing.T, pod, host, port, want string) {
	t.Helper()
	s.ask(t, pod, want, "sh", "-c", "echo who | nc -u -w 1 "+host+" "+port)
}

// acrossNodes: NW023, NW024, NW025, NW026.
func (s *scene) acrossNodes(t *testing.T) {
	for _, pod := range []string{"near", "host"} {
		s.http(t, pod, "http://"+s.ip["far"]+":8080", "far")
		s.udp(t, pod, s.ip["far"], "8080", "far")
	}
	s.http(t, "far", "http://"+s.ip["near"]+":8080", "near")
}

func (s *scene) service(t *testing.T, name, spec string) (vip string) {
	t.Helper()
	s.In(fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: %s}`, name, spec)).Must(t, "apply", "-f", "-")
	return s.Must(t, "get", "svc", name, "-o", "jsonpath={.spec.clusterIP}")
}

// are waits until a field of some objects is as wanted; the order of words does not matter.
func (s *scene) are(t *testing.T, want string, query ...string) {
	t.Helper()
	kit.Eventually(t, limit, fmt.Sprint(query, " is ", want), func() error {
		got := strings.Fields(s.Must(t, append([]string{"get"}, query...)...))
		if wanted := strings.Fields(want); len(got) != len(wanted) || !containsAll(got, wanted) {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

func containsAll(got, want []string) bool {
	for _, w := range want {
		if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+w+" ") {
			return false
		}
	}
	return true
}

const sliceAddresses = "jsonpath={.items[*].endpoints[*].addresses[*]}"

// slices: NW011, NW012. A selector has a slice also if it selects nobody; both go with the service.
func (s *scene) slices(t *testing.T) {
	s.service(t, "pair", "{selector: {app: pair}, ports: [{port: 80, targetPort: 8080}]}")
	s.service(t, "nobody", "{selector: {app: nobody}, ports: [{port: 80}]}")
	of := func(name, field string) []string {
		return []string{"endpointslices", "-l", "kubernetes.io/service-name=" + name, "-o", field}
	}
	s.are(t, s.ip["near"]+" "+s.ip["far"], of("pair", sliceAddresses)...)
	s.are(t, "IPv4", of("nobody", "jsonpath={.items[*].addressType}")...)
	s.are(t, "", of("nobody", sliceAddresses)...)
	s.are(t, "", "endpoints", "nobody", "-o", "jsonpath={.subsets[*].addresses[*].ip}") // NW019
	s.Must(t, "delete", "svc", "pair", "nobody")
	for _, name := range []string{"pair", "nobody"} {
		s.are(t, "", of(name, "jsonpath={.items[*].addressType}")...)
	}
}

const sliceByHand = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME, labels: {kubernetes.io/service-name: SERVICE}}
addressType: IPv4
ports: [{name: http, port: PORT, protocol: TCP}]
endpoints: [{addresses: [POD]}]
`

// slicesByHand: NW013, NW014. A service without selector leads to the endpoints of all its slices, each at the slice's own port.
func (s *scene) slicesByHand(t *testing.T) {
	for name, parts := range map[string][][2]string{"two-pods": {{"near", "8080"}, {"far", "9090"}}, "one-pod": {{"far", "8080"}, {"far", "9090"}}} {
		vip := s.service(t, name, "{ports: [{name: http, port: 80}]}")
		var want []string
		for i, p := range parts {
			s.In(strings.NewReplacer("NAME", fmt.Sprint(name, i), "SERVICE", name, "PORT", p[1], "POD", s.ip[p[0]]).Replace(sliceByHand)).Must(t, "apply", "-f", "-")
			want = append(want, fmt.Sprintf(`"Address":"%s:%s","Internal":true,"External":true,"Active":\d+,"Connections":[1-9]`, s.ip[p[0]], p[1]))
		}
		kit.Eventually(t, limit, name+" leads to all of "+fmt.Sprint(parts), func() error {
			if _, err := kit.Curl(s.Node(t, "client1").Namespace, "http://"+vip); err != nil {
				return err
			}
			trace := s.Must(t, "get", "--raw", "/api/v1/nodes/client1/proxy/services/"+s.Namespace+"/"+name)
			return errors.Join(kit.Matches(trace, want[0]), kit.Matches(trace, want[1]))
		})
	}
}

// endpointsFollow: NW018, NW045, NW047. The endpoints of a service, of one port and of two, are the pods that there are.
func (s *scene) endpointsFollow(t *testing.T) {
	s.service(t, "single", "{selector: {of: follow}, ports: [{port: 80, targetPort: 8080}]}")
	vip := s.service(t, "multi", "{selector: {of: follow}, ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 9090}]}")
	const field = "jsonpath={range .subsets[*]}{.addresses[*].targetRef.name} {.ports[*].port} {end}"
	check := func(pods string) {
		t.Helper()
		one, two := pods+" 8080", pods+" 8080 9090"
		if pods == "" {
			one, two = "", ""
		}
		s.are(t, one, "endpoints", "single", "-o", field)
		s.are(t, two, "endpoints", "multi", "-o", field)
	}
	check("")
	s.Must(t, "label", "pod", "far", "of=follow")
	check("far")
	for _, port := range []string{"80", "81"} {
		s.http(t, "near", "http://"+net.JoinHostPort(vip, port), "far")
	}
	s.Must(t, "label", "pod", "near", "of=follow")
	check("near far")
	s.Must(t, "label", "pod", "far", "of-")
	check("near")
	s.Must(t, "label", "pod", "near", "of-")
	check("")
}

// twoProtocols: NW046. One port of TCP and UDP; when one goes the other stays.
func (s *scene) twoProtocols(t *testing.T) {
	const both = "{selector: {app: pair}, ports: [{name: t, port: 80, targetPort: 8080, protocol: TCP}, {name: u, port: 80, targetPort: 8080, protocol: UDP}]}"
	vip := s.service(t, "twofold", both)
	s.http(t, "near", "http://"+vip, "pod ")
	s.udp(t, "near", vip, "80", "pod ")
	s.Must(t, "patch", "svc", "twofold", "--type=json", "-p", `[{"op":"remove","path":"/spec/ports/0"}]`)
	kit.Eventually(t, limit, "TCP is refused", func() error {
		if out, err := kit.Curl(s.Node(t, "client1").Namespace, "http://"+vip); err == nil {
			return errors.New(out)
		}
		return nil
	})
	s.udp(t, "near", vip, "80", "pod ")
}

const onHost = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  nodeName: client1
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: peapod/demo, ports: [{containerPort: 8080, hostPort: 18081, hostIP: HOST, protocol: KIND}]}]
---`

// hostPorts: NW020. One host port at two addresses, and of two protocols at one of them, is three pods'.
func (s *scene) hostPorts(t *testing.T) {
	node := s.Node(t, "client1").Address
	all := ""
	for _, p := range [][3]string{{"at-loopback", "127.0.0.1", "TCP"}, {"at-node", node, "TCP"}, {"at-node-udp", node, "UDP"}} {
		all += strings.NewReplacer("NAME", p[0], "HOST", p[1], "KIND", p[2]).Replace(onHost)
	}
	s.In(all).Must(t, "apply", "-f", "-")
	s.http(t, "host", "http://127.0.0.1:18081", "at-loopback")
	s.http(t, "host", "http://"+node+":18081", "at-node")
	s.udp(t, "host", node, "18081", "at-node-udp")
	s.Must(t, "delete", "pod", "at-loopback", "at-node", "at-node-udp", "--now")
}

// proxies: NW027, NW028, NW029. The API passes requests of every method on to pods and services, named in every way, with and without a path.
func (s *scene) proxies(t *testing.T) {
	s.service(t, "front", "{selector: {app: pair}, ports: [{name: web, port: 80, targetPort: 8080}]}")
	cfg := s.Config(t, "")
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"pods/near:8080", "pods/http:near:8080", "services/front", "services/front:80", "services/front:web", "services/http:front:web"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"} {
			for _, path := range []string{"", "some/path"} {
				url := cfg.Host + "/api/v1/namespaces/" + s.Namespace + "/" + to + "/proxy/" + path
				kit.Eventually(t, limit, method+" "+url, func() error { return passed(client, method, url, `"request": "`+method+" /"+path+` HTTP/1.1"`) })
			}
		}
	}
}

func passed(client *http.Client, method, url, want string) error {
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK || method != http.MethodHead && !strings.Contains(string(b), want) {
		return fmt.Errorf("%s: %s: %w", res.Status, b, err)
	}
	return nil
}

// manyServices: NW030. Services that come together have their endpoints, and lead to them, soon.
func (s *scene) manyServices(t *testing.T) {
	text := ""
	for i := range 20 {
		text += fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: many%d, labels: {of: many}}, spec: {selector: {app: pair}, ports: [{port: 80, targetPort: 8080}]}}\n---\n", i)
	}
	s.In(text).Must(t, "apply", "-f", "-")
	list, err := s.Client(t, "").CoreV1().Services(s.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "of=many"})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 20 {
		t.Fatalf("%d services", len(list.Items))
	}
	for i := range list.Items {
		says := "http://" + list.Items[i].Spec.ClusterIP
		kit.Eventually(t, limit, says+" answers", func() error {
			_, err := kit.Curl(s.Node(t, "client2").Namespace, says)
			return err
		})
	}
}
