package api

import (
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// sameTable compares a kind's columns and the row of one of its objects, the wide ones after "||".
func sameTable(t *testing.T, resource, head, object, row string) {
	t.Helper()
	k := kindNamed(t, resource)
	if got := headOf(k); got != head {
		t.Errorf("columns\n got %s\nwant %s", got, head)
	}
	if got := cellsOf(k, object, t); got != row {
		t.Errorf("row\n got %s\nwant %s", got, row)
	}
}

func sameWarnings(t *testing.T, resource, object string, want ...string) {
	t.Helper()
	if got := kindNamed(t, resource).Warnings(load(t, resource, object), nil); !slices.Equal(got, want) {
		t.Errorf("warnings\n got %q\nwant %q", got, want)
	}
}

const goodNetworkPolicy = `
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {}, namespaceSelector: {matchLabels: {a: b}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
    ports: [{port: 80, endPort: 90}, {port: http, protocol: UDP}, {protocol: SCTP}]
  egress:
  - to: [{ipBlock: {cidr: "2001:db8::/32"}}]
    ports: [{port: 53}]
`

func TestNetworkPolicyValidation(t *testing.T) {
	const in, out = "spec.ingress[0]", "spec.egress[0]"
	runBad(t, "networkpolicies.networking.k8s.io", goodNetworkPolicy, []badObject{
		{"selector", []string{"{app: web}", "{app: 'not ok'}"}, []string{`spec.podSelector.matchLabels: Invalid value: "not ok"`}},
		{"protocol", []string{"UDP", "ICMP"}, []string{in + `.ports[1].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`}},
		{"port", []string{"port: 53", "port: 0"}, []string{out + ".ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		{"port name", []string{"port: http", "port: -http"}, []string{in + `.ports[1].port: Invalid value: "-http": must not begin or end with a hyphen`}},
		{"end before begin", []string{"endPort: 90", "endPort: 79"}, []string{in + ".ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"}},
		{"end out of range", []string{"endPort: 90", "endPort: 65536"}, []string{in + ".ports[0].endPort: Invalid value: 65536: must be between 1 and 65535, inclusive"}},
		{"end of a name", []string{"port: http", "port: http, endPort: 9"}, []string{in + ".ports[1].endPort: Invalid value: 9: may not be specified when `port` is non-numeric"}},
		{"end of nothing", []string{"protocol: SCTP", "endPort: 9"}, []string{in + ".ports[2].endPort: Invalid value: 9: may not be specified when `port` is not specified"}},
		{"no peer", []string{"{podSelector: {}, namespaceSelector: {matchLabels: {a: b}}}", "{}"}, []string{in + ".from[0]: Required value: must specify a peer"}},
		{"two peers", []string{"{ipBlock: {cidr: 10", "{podSelector: {}, ipBlock: {cidr: 10"}, []string{in + ".from[1]: Forbidden: may not specify both ipBlock and another peer"}},
		{"namespace selector", []string{"{a: b}", "{'a a': b}"}, []string{in + ".from[0].namespaceSelector.matchLabels: Invalid value: \"a a\""}},
		{"no range", []string{`cidr: "2001:db8::/32"`, "except: [10.0.0.0/8]"}, []string{out + ".to[0].ipBlock.cidr: Required value"}},
		{"range", []string{"2001:db8::/32", "2001:db8::"}, []string{out + `.to[0].ipBlock.cidr: Invalid value: "2001:db8::": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"range with a host", []string{"10.0.0.0/8", "10.0.0.7/8"}, []string{in + `.from[1].ipBlock.cidr: Invalid value: "10.0.0.7/8": must not have bits set beyond the prefix length`}},
		{"range with zeros", []string{"10.0.0.0/8", "010.0.0.0/8"}, []string{in + `.from[1].ipBlock.cidr: Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length`}},
		{"except outside", []string{"10.1.0.0/16", "11.1.0.0/16"}, []string{in + `.from[1].ipBlock.except[0]: Invalid value: "11.1.0.0/16": must be a strict subset of ` + "`cidr`"}},
		{"except all", []string{"10.1.0.0/16", "10.0.0.0/8"}, []string{in + `.from[1].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of ` + "`cidr`"}},
		{"except another family", []string{"10.1.0.0/16", "'2001:db8::/64'"}, []string{in + `.from[1].ipBlock.except[0]: Invalid value: "2001:db8::/64": must be a strict subset of ` + "`cidr`"}},
		{"except nonsense", []string{"10.1.0.0/16", "x"}, []string{in + `.from[1].ipBlock.except[0]: Invalid value: "x": must be a valid CIDR value`}},
		{"type", []string{"  ingress", "  policyTypes: [Ingress, Sideways]\n  ingress"}, []string{`spec.policyTypes[1]: Unsupported value: "Sideways": supported values: "Egress", "Ingress"`}},
		{"types", []string{"  ingress", "  policyTypes: [Ingress, Egress, Ingress]\n  ingress"}, []string{`spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes`}},
		{"several faults at once", []string{"port: 53", "port: 0", "UDP", "ICMP"}, []string{out + ".ports[0].port: Invalid value", in + ".ports[1].protocol: Unsupported value"}},
	})
	runUpdates(t, "networkpolicies.networking.k8s.io", goodNetworkPolicy, []badObject{
		{"selector", []string{"{app: web}", "{app: other}"}, nil},
		{"port", []string{"port: 53", "port: 0"}, []string{out + ".ports[0].port: Invalid value: 0"}},
	})
}

func TestNetworkPolicyDefaults(t *testing.T) {
	sameYAML(t, load(t, "networkpolicies.networking.k8s.io", "metadata: {name: a}\nspec: {ingress: [{ports: [{port: 1}, {protocol: UDP}]}], egress: [{ports: [{}]}]}"), `
metadata:
  name: a
spec:
  egress:
  - ports:
    - protocol: TCP
  ingress:
  - ports:
    - port: 1
      protocol: TCP
    - protocol: UDP
  podSelector: {}
  policyTypes:
  - Ingress
  - Egress
`)
	sameYAML(t, load(t, "networkpolicies.networking.k8s.io", "metadata: {name: a}"),
		"metadata:\n  name: a\nspec:\n  podSelector: {}\n  policyTypes:\n  - Ingress\n")
	sameYAML(t, load(t, "networkpolicies.networking.k8s.io", "metadata: {name: a}\nspec: {policyTypes: [Egress]}"),
		"metadata:\n  name: a\nspec:\n  podSelector: {}\n  policyTypes:\n  - Egress\n")
}

func TestNetworkPolicyWarnings(t *testing.T) {
	sameWarnings(t, "networkpolicies.networking.k8s.io", goodNetworkPolicy)
	sameWarnings(t, "networkpolicies.networking.k8s.io", edit(t, goodNetworkPolicy, "2001:db8::/32", "2001:DB8::/32"),
		`spec.egress[0].to[0].ipBlock.cidr: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")`)
}

const goodIngress = `
metadata: {name: web, namespace: default}
spec:
  ingressClassName: nginx
  defaultBackend: {resource: {apiGroup: example.com, kind: Bucket, name: static}}
  tls: [{hosts: [a.example.com, "*.example.com"], secretName: cert}]
  rules:
  - host: "*.example.com"
    http: {paths: [{path: /x, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
  - http: {paths: [{pathType: ImplementationSpecific, backend: {service: {name: 1web, port: {number: 80}}}}]}
`

func TestIngressValidation(t *testing.T) {
	const path0, path1 = "spec.rules[0].http.paths[0]", "spec.rules[1].http.paths[0]"
	runBad(t, "ingresses.networking.k8s.io", goodIngress, []badObject{
		{"class", []string{"ingressClassName: nginx", "ingressClassName: Nginx"}, []string{`spec.ingressClassName: Invalid value: "Nginx": a lowercase RFC 1123 subdomain`}},
		{"class said otherwise", []string{"{name: web, names", "{annotations: {kubernetes.io/ingress.class: other}, name: web, names"}, []string{
			`annotations.kubernetes.io/ingress.class: Invalid value: "other": must match ` + "`ingressClassName` when both are specified"}},
		{"class said twice", []string{"{name: web, names", "{annotations: {kubernetes.io/ingress.class: nginx}, name: web, names"}, nil},
		{"resource", []string{"kind: Bucket, name: static", "kind: '', name: a/b", "example.com", "Example.com"}, []string{
			`spec.defaultBackend.resource.apiGroup: Invalid value: "Example.com": a lowercase RFC 1123 subdomain`,
			"spec.defaultBackend.resource.kind: Required value: kind is required", `spec.defaultBackend.resource.name: Invalid value: "a/b": may not contain '/'`}},
		{"resource without name", []string{"name: static", "name: ''"}, []string{"spec.defaultBackend.resource.name: Required value: name is required"}},
		{"tls host", []string{"a.example.com", "A.example.com"}, []string{`spec.tls[0].hosts[0]: Invalid value: "A.example.com": a lowercase RFC 1123 subdomain`}},
		{"tls wildcard", []string{`"*.example.com"]`, `"*"]`}, []string{`spec.tls[0].hosts[1]: Invalid value: "*": a wildcard DNS-1123 subdomain must start with '*.'`}},
		{"tls secret", []string{"secretName: cert", "secretName: Cert"}, []string{`spec.tls[0].secretName: Invalid value: "Cert"`}},
		{"host", []string{`host: "*.example.com"`, `host: a_b.com`}, []string{`spec.rules[0].host: Invalid value: "a_b.com": a lowercase RFC 1123 subdomain`}},
		{"host address", []string{`host: "*.example.com"`, `host: 192.0.2.1`}, []string{`spec.rules[0].host: Invalid value: "192.0.2.1": must be a DNS name, not an IP address`}},
		{"host wildcard", []string{`host: "*.example.com"`, `host: "a.*.com"`}, []string{`spec.rules[0].host: Invalid value: "a.*.com": a wildcard DNS-1123 subdomain must start with '*.'`}},
		{"no paths", []string{"{paths: [{path: /x, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}", "{paths: []}"}, []string{"spec.rules[0].http.paths: Required value"}},
		{"no path type", []string{"path: /x, pathType: Prefix", "path: /x"}, []string{path0 + ".pathType: Required value: pathType must be specified"}},
		{"path type", []string{"pathType: Prefix", "pathType: Suffix"}, []string{path0 + `.pathType: Unsupported value: "Suffix": supported values: "Exact", "ImplementationSpecific", "Prefix"`}},
		{"no path", []string{"path: /x, pathType: Prefix", "pathType: Exact"}, []string{path0 + `.path: Invalid value: "": must be an absolute path`}},
		{"path", []string{"path: /x", "path: a//b/./c/../%2f%2F"}, []string{
			path0 + `.path: Invalid value: "a//b/./c/../%2f%2F": must be an absolute path`, path0 + `.path: Invalid value: "a//b/./c/../%2f%2F": must not contain '//'`,
			path0 + `.path: Invalid value: "a//b/./c/../%2f%2F": must not contain '/./'`, path0 + `.path: Invalid value: "a//b/./c/../%2f%2F": must not contain '/../'`,
			path0 + `.path: Invalid value: "a//b/./c/../%2f%2F": must not contain '%2f'`, path0 + `.path: Invalid value: "a//b/./c/../%2f%2F": must not contain '%2F'`}},
		{"path end", []string{"path: /x", "path: /x/.."}, []string{path0 + `.path: Invalid value: "/x/..": cannot end with '/..'`}},
		{"path of the implementation", []string{"{pathType: Imp", "{path: x, pathType: Imp"}, []string{path1 + `.path: Invalid value: "x": must be an absolute path`}},
		{"odd path of the implementation", []string{"{pathType: Imp", "{path: '/x//(.*)', pathType: Imp"}, nil},
		{"two backends", []string{"backend: {service", "backend: {resource: {kind: A, name: a}, service"}, []string{path0 + `.backend: Invalid value: "": cannot set both resource and service backends`}},
		{"no backend", []string{"backend: {service: {name: web, port: {name: http}}}", "backend: {}"}, []string{path0 + `.backend: Invalid value: "": resource or service backend is required`}},
		{"no service", []string{"{name: web, port", "{name: '', port"}, []string{path0 + ".backend.service.name: Required value"}},
		{"service", []string{"{name: web, port", "{name: we.b, port"}, []string{path0 + `.backend.service.name: Invalid value: "we.b": must not contain dots`}},
		{"no port", []string{"{name: http}", "{}"}, []string{path0 + ".backend: Required value: port name or number is required"}},
		{"two ports", []string{"{name: http}", "{name: http, number: 80}"}, []string{path0 + `.backend: Invalid value: "": cannot set both port name & port number`}},
		{"port name", []string{"{name: http}", "{name: 'http-'}"}, []string{path0 + `.backend.service.port.name: Invalid value: "http-": must not begin or end with a hyphen`}},
		{"port number", []string{"{number: 80}", "{number: 70000}"}, []string{path1 + ".backend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"}},
	})
	k := kindNamed(t, "ingresses.networking.k8s.io")
	sameFaults(t, k.Validate(load(t, "ingresses.networking.k8s.io", "metadata: {name: a}")), "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified")
	runUpdates(t, "ingresses.networking.k8s.io", goodIngress, []badObject{
		{"class", []string{"ingressClassName: nginx", "ingressClassName: other"}, nil},
		{"class said otherwise", []string{"{name: web, names", "{annotations: {kubernetes.io/ingress.class: other}, name: web, names"}, nil},
		{"no backend", []string{"backend: {service: {name: web, port: {name: http}}}", "backend: {}"}, []string{path0 + `.backend: Invalid value: ""`}},
	})
}

func TestIngressStatus(t *testing.T) {
	k := kindNamed(t, "ingresses.networking.k8s.io")
	status := func(text string) *networkingv1.Ingress {
		return load(t, "ingresses.networking.k8s.io", goodIngress+"status: {loadBalancer: {ingress: ["+text+"]}}").(*networkingv1.Ingress)
	}
	old := status("")
	sameFaults(t, k.ValidateStatusUpdate(status("{ip: 192.0.2.1}, {hostname: a.b}, {ip: '2001:db8::1', ports: [{port: 80, protocol: TCP}]}"), old))
	sameFaults(t, k.ValidateStatusUpdate(status("{ip: 192.0.2}, {hostname: 192.0.2.1}, {hostname: A}, {ip: 192.0.2.01}"), old),
		`status.loadBalancer.ingress[0].ip: Invalid value: "192.0.2": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		`status.loadBalancer.ingress[1].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address`,
		`status.loadBalancer.ingress[2].hostname: Invalid value: "A": a lowercase RFC 1123 subdomain`,
		`status.loadBalancer.ingress[3].ip: Invalid value: "192.0.2.01": must not have leading 0s`)
}

func TestIngressWarnings(t *testing.T) {
	const resource, deprecated = "ingresses.networking.k8s.io", `annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`
	annotated := edit(t, goodIngress, "{name: web, names", "{annotations: {kubernetes.io/ingress.class: nginx}, name: web, names")
	sameWarnings(t, resource, goodIngress)
	sameWarnings(t, resource, annotated)
	const bucket = "spec.defaultBackend.resource: the built-in controller answers 503 for what is no service"
	sameWarnings(t, resource, edit(t, annotated, "  ingressClassName: nginx\n", ""), deprecated, bucket)
	sameWarnings(t, resource, edit(t, goodIngress, "nginx", "peapod", "service: {name: web, port: {name: http}}", "resource: {kind: Bucket, name: b}"),
		bucket, "spec.rules[0].http.paths[0].backend.resource: the built-in controller answers 503 for what is no service")
}

func TestNetworkingTables(t *testing.T) {
	const ingressHead = "Name|Class|Hosts|Address|Ports|Age"
	sameTable(t, "networkpolicies.networking.k8s.io", "Name|Pod-Selector|Age", "metadata: {name: p, "+born+"}\nspec: {podSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}}", "p|a=b,c|5m")
	sameTable(t, "networkpolicies.networking.k8s.io", "Name|Pod-Selector|Age", "metadata: {name: p, "+born+"}", "p|<none>|5m")
	sameTable(t, "ingresses.networking.k8s.io", ingressHead, "metadata: {name: i, "+born+"}", "i|<none>|*||80|5m")
	sameTable(t, "ingresses.networking.k8s.io", ingressHead,
		"metadata: {name: i, "+born+"}\nspec: {ingressClassName: c, tls: [{}], rules: [{host: a}, {}, {host: b}, {host: c}, {host: d}, {}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {hostname: a.very.long.example.com}, {ip: 192.0.2.2}]}}",
		"i|c|a,b,c + 3 more...|192.0.2.2,a.very.long.example.com|80, 443|5m")
	sameTable(t, "ingresses.networking.k8s.io", ingressHead, "metadata: {name: i, "+born+"}\nspec: {rules: [{host: a}, {host: b}, {host: c}]}", "i|<none>|a,b,c||80|5m")
	sameTable(t, "ingressclasses.networking.k8s.io", "Name|Controller|Parameters|Age", "metadata: {name: c, "+born+"}\nspec: {controller: a.b/c}", "c|a.b/c|<none>|5m")
	sameTable(t, "ingressclasses.networking.k8s.io", "Name|Controller|Parameters|Age", "metadata: {name: c, "+born+"}\nspec: {parameters: {apiGroup: a.b, kind: K, name: x}}", "c||K.a.b/x|5m")
	sameTable(t, "ingressclasses.networking.k8s.io", "Name|Controller|Parameters|Age", "metadata: {name: c, "+born+"}\nspec: {parameters: {kind: ConfigMap, name: x}}", "c||ConfigMap/x|5m")
	sameTable(t, "ipaddresses.networking.k8s.io", "Name|ParentRef", "metadata: {name: 10.0.0.1, "+born+"}\nspec: {parentRef: {resource: services, namespace: default, name: kubernetes}}", "10.0.0.1|services/default/kubernetes")
	sameTable(t, "ipaddresses.networking.k8s.io", "Name|ParentRef", "metadata: {name: 10.0.0.1}\nspec: {parentRef: {group: gateway.networking.k8s.io, resource: Gateways, name: g}}", "10.0.0.1|gateways.gateway.networking.k8s.io/g")
	sameTable(t, "ipaddresses.networking.k8s.io", "Name|ParentRef", "metadata: {name: 10.0.0.1}", "10.0.0.1|<none>")
	sameTable(t, "servicecidrs.networking.k8s.io", "Name|CIDRs|Age", "metadata: {name: kubernetes, "+born+"}\nspec: {cidrs: [10.96.0.0/16, '2001:db8::/112']}", "kubernetes|10.96.0.0/16,2001:db8::/112|5m")
	sameTable(t, "runtimeclasses.node.k8s.io", "Name|Handler|Age", "metadata: {name: g, "+born+"}\nhandler: runsc", "g|runsc|5m")
}

const goodIngressClass = `
metadata: {name: nginx}
spec:
  controller: example.com/nginx
  parameters: {apiGroup: example.com, kind: Config, name: main}
`

func TestIngressClassValidation(t *testing.T) {
	const scope = "spec.parameters.scope"
	long := "example.com/" + strings.Repeat("a", ingressControllerBytesMax)
	runBad(t, "ingressclasses.networking.k8s.io", goodIngressClass, []badObject{
		{"no controller", []string{"example.com/nginx", "''"}, []string{"spec.controller: Required value"}},
		{"controller", []string{"example.com/nginx", "nginx"}, []string{`spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")`}},
		{"long controller", []string{"example.com/nginx", long}, []string{"spec.controller: Too long: may not be more than 250 bytes"}},
		{"no kind", []string{"kind: Config", "kind: ''"}, []string{"spec.parameters.kind: Required value: kind is required"}},
		{"name", []string{"name: main", "name: ..", "apiGroup: example.com", "apiGroup: A"}, []string{
			`spec.parameters.name: Invalid value: "..": may not be '..'`, `spec.parameters.apiGroup: Invalid value: "A"`}},
		{"scope", []string{"name: main", "name: main, scope: Galaxy"}, []string{scope + `: Unsupported value: "Galaxy": supported values: "Cluster", "Namespace"`}},
		{"namespace of the cluster", []string{"name: main", "name: main, namespace: a"}, []string{"spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"}},
		{"no namespace", []string{"name: main", "name: main, scope: Namespace"}, []string{"spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"}},
		{"namespace", []string{"name: main", "name: main, scope: Namespace, namespace: A"}, []string{`spec.parameters.namespace: Invalid value: "A": a lowercase RFC 1123 label`}},
		{"good namespace", []string{"name: main", "name: main, scope: Namespace, namespace: a"}, nil},
	})
	runUpdates(t, "ingressclasses.networking.k8s.io", goodIngressClass, []badObject{
		{"parameters", []string{"name: main", "name: other"}, nil},
		{"controller", []string{"/nginx", "/other"}, []string{`spec.controller: Invalid value: "example.com/other": field is immutable`}},
	})
	sameYAML(t, load(t, "ingressclasses.networking.k8s.io", goodIngressClass), `
metadata:
  name: nginx
spec:
  controller: example.com/nginx
  parameters:
    apiGroup: example.com
    kind: Config
    name: main
    scope: Cluster
`)
}

func TestIPAddressValidation(t *testing.T) {
	const good = "metadata: {name: 10.0.0.1}\nspec: {parentRef: {resource: services, namespace: default, name: a}}\n"
	runBad(t, "ipaddresses.networking.k8s.io", good, []badObject{
		{"no parent", []string{"{parentRef: {resource: services, namespace: default, name: a}}", "{}"}, []string{"spec.parentRef: Required value"}},
		{"group", []string{"resource: services", "resource: services, group: A"}, []string{`spec.parentRef.group: Invalid value: "A"`}},
		{"no resource", []string{"resource: services, ", ""}, []string{"spec.parentRef.resource: Required value"}},
		{"resource", []string{"services", "a/b"}, []string{`spec.parentRef.resource: Invalid value: "a/b": may not contain '/'`}},
		{"no name", []string{", name: a", ""}, []string{"spec.parentRef.name: Required value"}},
		{"name", []string{", name: a", ", name: .."}, []string{`spec.parentRef.name: Invalid value: "..": may not be '..'`}},
		{"namespace", []string{"default", "a%"}, []string{`spec.parentRef.namespace: Invalid value: "a%": may not contain '%'`}},
		{"no namespace", []string{"namespace: default, ", ""}, nil},
	})
	runUpdates(t, "ipaddresses.networking.k8s.io", good, []badObject{
		{"label", []string{"{name: 10.0.0.1}", "{name: 10.0.0.1, labels: {a: b}}"}, nil},
		{"parent", []string{", name: a", ", name: b"}, []string{"spec.parentRef: Invalid value: {\"resource\":\"services\",\"namespace\":\"default\",\"name\":\"b\"}: field is immutable"}},
	})
	name := kindNamed(t, "ipaddresses.networking.k8s.io").ValidateName
	for text, ok := range map[string]bool{
		"10.0.0.1": true, "2001:db8::1": true, "10.0.0": false, "10.0.0.01": false, "2001:DB8::1": false, "2001:db8:0::1": false, "x": false,
	} {
		if got := len(name(text, false)) == 0; got != ok {
			t.Errorf("name %s: accepted is %t", text, got)
		}
	}
}

func TestServiceCIDRValidation(t *testing.T) {
	const resource, good = "servicecidrs.networking.k8s.io", "metadata: {name: a}\nspec: {cidrs: [10.0.0.0/16]}\n"
	const dual = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
	runBad(t, resource, good, []badObject{
		{"none", []string{"[10.0.0.0/16]", "[]"}, []string{"spec.cidrs: Required value: at least one CIDR required"}},
		{"three", []string{"[10.0.0.0/16]", "[10.0.0.0/16, '2001:db8::/64', 11.0.0.0/16]"}, []string{`spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/16","2001:db8::/64","11.0.0.0/16"]}: may only hold up to 2 values`}},
		{"one family", []string{"[10.0.0.0/16]", "[10.0.0.0/16, 11.0.0.0/16]"}, []string{`spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/16","11.0.0.0/16"]}: ` + dual}},
		{"half nonsense", []string{"[10.0.0.0/16]", "[10.0.0.0/16, x]"}, []string{`spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/16","x"]}: ` + dual}},
		{"nonsense", []string{"10.0.0.0/16", "x"}, []string{`spec.cidrs[0]: Invalid value: "x": must be a valid CIDR value`}},
		{"host bits", []string{"10.0.0.0/16", "10.0.0.1/16"}, []string{`spec.cidrs[0]: Invalid value: "10.0.0.1/16": must not have bits set beyond the prefix length`}},
		{"form", []string{"[10.0.0.0/16]", "[10.0.0.0/16, '2001:DB8::/64']"}, []string{`spec.cidrs[1]: Invalid value: "2001:DB8::/64": must be in canonical form ("2001:db8::/64")`}},
	})
	runUpdates(t, resource, good, []badObject{
		{"same", nil, nil},
		{"grown", []string{"[10.0.0.0/16]", "[10.0.0.0/16, '2001:db8::/64']"}, nil},
		{"changed", []string{"10.0.0.0/16", "10.1.0.0/16"}, []string{`spec.cidrs[0]: Invalid value: "10.1.0.0/16": field is immutable`}},
		{"grown and changed", []string{"[10.0.0.0/16]", "['2001:db8::/64', 10.0.0.0/16]"}, []string{`spec.cidrs[0]: Invalid value: "2001:db8::/64": field is immutable`}},
		{"grown by the same family", []string{"[10.0.0.0/16]", "[10.0.0.0/16, 11.0.0.0/16]"}, []string{"spec.cidrs: Invalid value"}},
		{"emptied", []string{"[10.0.0.0/16]", "[]"}, []string{"spec.cidrs: Invalid value: []: field is immutable"}},
	})
	runUpdates(t, resource, edit(t, good, "[10.0.0.0/16]", "[10.0.0.0/16, '2001:db8::/64']"), []badObject{
		{"turned", []string{"[10.0.0.0/16, '2001:db8::/64']", "['2001:db8::/64', 10.0.0.0/16]"}, []string{
			`spec.cidrs[0]: Invalid value: "2001:db8::/64": field is immutable`, `spec.cidrs[1]: Invalid value: "10.0.0.0/16": field is immutable`}},
		{"shrunk", []string{", '2001:db8::/64'", ""}, []string{`spec.cidrs: Invalid value: ["10.0.0.0/16"]: field is immutable`}},
	})
}

const goodRuntimeClass = `
metadata: {name: gvisor}
handler: runsc
overhead: {podFixed: {memory: 120Mi, cpu: 250m}}
scheduling:
  nodeSelector: {runtime: gvisor}
  tolerations: [{key: a, operator: Exists, effect: NoSchedule}]
`

func TestRuntimeClassValidation(t *testing.T) {
	const limits = "overhead.podFixed.limits"
	runBad(t, "runtimeclasses.node.k8s.io", goodRuntimeClass, []badObject{
		{"no handler", []string{"handler: runsc\n", ""}, []string{"handler: Required value"}},
		{"handler", []string{"runsc", "run.sc"}, []string{`handler: Invalid value: "run.sc": must not contain dots`}},
		{"overhead", []string{"cpu: 250m", "cpu: -1"}, []string{limits + `[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		{"overhead of what", []string{"cpu: 250m", "unobtainium: 1"}, []string{
			limits + `[unobtainium]: Invalid value: "unobtainium": must be a standard resource type or fully qualified`, limits + `[unobtainium]: Invalid value: "unobtainium": must be a standard resource for containers`}},
		{"selector", []string{"{runtime: gvisor}", "{runtime: 'not ok'}"}, []string{`scheduling.nodeSelector: Invalid value: "not ok"`}},
		{"toleration", []string{"NoSchedule", "NoFun"}, []string{`scheduling.tolerations[0].effect: Unsupported value: "NoFun"`}},
		{"toleration twice", []string{"effect: NoSchedule}", "effect: NoSchedule}, {key: a, operator: Exists, effect: NoSchedule}"}, []string{"scheduling.tolerations[1]: Duplicate value: {\"key\":\"a\",\"operator\":\"Exists\",\"effect\":\"NoSchedule\"}"}},
		{"toleration of another effect", []string{"effect: NoSchedule}", "effect: NoSchedule}, {key: a, operator: Exists, effect: NoExecute}"}, nil},
	})
	runUpdates(t, "runtimeclasses.node.k8s.io", goodRuntimeClass, []badObject{
		{"overhead", []string{"cpu: 250m", "cpu: 1"}, nil},
		{"handler", []string{"runsc", "kata"}, []string{`handler: Invalid value: "kata": field is immutable`}},
	})
	sameYAML(t, load(t, "runtimeclasses.node.k8s.io", "metadata: {name: a}\nhandler: b\noverhead: {podFixed: {cpu: 100500u}}"),
		"handler: b\nmetadata:\n  name: a\noverhead:\n  podFixed:\n    cpu: 101m\n")
}

const goodEndpointSlice = `
metadata: {name: a}
addressType: IPv4
endpoints:
- addresses: [10.0.0.1]
  hints: {forZones: [{name: z1}], forNodes: [{name: n1}]}
ports: [{name: a, port: 1}]
`

func TestEndpointSliceHints(t *testing.T) {
	const hints = "endpoints[0].hints"
	nine := strings.Repeat("{name: x},", sliceHintsMax+1)
	runBad(t, "endpointslices.discovery.k8s.io", goodEndpointSlice, []badObject{
		{"zone", []string{"z1", "'z 1'"}, []string{hints + `.forZones[0].name: Invalid value: "z 1": a valid label must be`}},
		{"zone twice", []string{"{name: z1}", "{name: z1}, {name: z1}"}, []string{hints + `.forZones[1].name: Duplicate value: "z1"`}},
		{"zones", []string{"{name: z1}", nine}, []string{hints + ".forZones: Too many: 9: must have at most 8 items"}},
		{"node", []string{"n1", "N1"}, []string{hints + `.forNodes[0].name: Invalid value: "N1": a lowercase RFC 1123 subdomain`}},
		{"node twice", []string{"{name: n1}", "{name: n1}, {name: n1}"}, []string{hints + `.forNodes[1].name: Duplicate value: "n1"`}},
		{"nodes", []string{"{name: n1}", nine}, []string{hints + ".forNodes: Too many: 9: must have at most 8 items"}},
		{"old form of an address", []string{"10.0.0.1", "010.0.0.1"}, []string{`endpoints[0].addresses[0]: Invalid value: "010.0.0.1": must not have leading 0s`}},
		{"no address", []string{"10.0.0.1", "x"}, []string{`endpoints[0].addresses[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		{"old family", []string{"IPv4", "IPv6", "10.0.0.1", "'::ffff:10.0.0.1'"}, []string{`endpoints[0].addresses[0]: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address`}},
		{"names", []string{"IPv4", "FQDN", "10.0.0.1", "a"}, []string{`endpoints[0].addresses[0]: Invalid value: "a": should be a domain with at least two segments separated by dots`}},
	})
	sameWarnings(t, "endpointslices.discovery.k8s.io", goodEndpointSlice)
	sameWarnings(t, "endpointslices.discovery.k8s.io", edit(t, goodEndpointSlice, "IPv4", "FQDN", "10.0.0.1", "a.b"), "addressType: FQDN endpoints are deprecated")
	sameWarnings(t, "endpointslices.discovery.k8s.io", edit(t, goodEndpointSlice, "IPv4", "IPv6", "10.0.0.1", "'2001:DB8::1'"),
		`endpoints[0].addresses[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")`)
}

func TestEndpointSliceDropsTheOldTopology(t *testing.T) {
	k := kindNamed(t, "endpointslices.discovery.k8s.io")
	text := edit(t, goodEndpointSlice, "  hints: {forZones: [{name: z1}], forNodes: [{name: n1}]}", "  deprecatedTopology: {a: b}")
	made, changed := load(t, "endpointslices.discovery.k8s.io", text), load(t, "endpointslices.discovery.k8s.io", text)
	k.PrepareForCreate(made)
	k.PrepareForUpdate(changed, made)
	const want = `
addressType: IPv4
endpoints:
- addresses:
  - 10.0.0.1
  conditions: {}
metadata:
  generation: 1
  name: a
ports:
- name: a
  port: 1
  protocol: TCP
`
	sameYAML(t, made, want)
	sameYAML(t, changed, want)
}

func TestLeaseDropsCoordination(t *testing.T) {
	k := kindNamed(t, "leases.coordination.k8s.io")
	const text = "metadata: {name: a}\nspec: {holderIdentity: x, strategy: OldestEmulationVersion, preferredHolder: y}"
	made, changed := load(t, "leases.coordination.k8s.io", text), load(t, "leases.coordination.k8s.io", text)
	k.PrepareForCreate(made)
	k.PrepareForUpdate(changed, made)
	sameYAML(t, made, "metadata:\n  name: a\nspec:\n  holderIdentity: x\n")
	sameYAML(t, changed, "metadata:\n  name: a\nspec:\n  holderIdentity: x\n")
	runBad(t, "leases.coordination.k8s.io", "metadata: {name: a}\nspec: {leaseDurationSeconds: 5, leaseTransitions: 1}\n", []badObject{
		{"duration", []string{"Seconds: 5", "Seconds: 0"}, []string{"spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"}},
		{"transitions", []string{"Transitions: 1", "Transitions: -1"}, []string{"spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"}},
	})
}
