package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServicesInDepth(t *testing.T) {
	runBad(t, "services", goodService, []badObject{
		{"only the old field", []string{"  clusterIPs: [10.96.0.7]\n", ""}, []string{"spec.clusterIPs: Required value"}},
		{"only the new field", []string{"  clusterIP: 10.96.0.7\n", ""}, []string{"spec.clusterIPs: Invalid value: [\"10.96.0.7\"]: must be empty when `clusterIP` is not specified"}},
		{"two families", []string{"[10.96.0.7]", "[10.96.0.7, 'fd00::7']\n  ipFamilies: [IPv4, IPv6]\n  ipFamilyPolicy: RequireDualStack"}, nil},
		{"one family twice", []string{"[10.96.0.7]", "[10.96.0.7, 10.96.0.8]"}, []string{"spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"10.96.0.8\"]: may specify no more than one IP for each IP family"}},
		{"three", []string{"[10.96.0.7]", "[10.96.0.7, 'fd00::7', 10.96.0.9]"}, []string{"spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"fd00::7\",\"10.96.0.9\"]: may only hold up to 2 values"}},
		{"none beside one", []string{"clusterIP: 10.96.0.7", "clusterIP: None", "[10.96.0.7]", "[None, 10.96.0.7]"}, []string{"spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.7\"]: 'None' must be the first and only value"}},
		{"one beside none", []string{"[10.96.0.7]", "[10.96.0.7, None]"}, []string{`spec.clusterIPs[1]: Invalid value: "None"`}},
		{"other family", []string{"[10.96.0.7]", "[10.96.0.7]\n  ipFamilies: [IPv6]"}, []string{"spec.clusterIPs[0]: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by `ipFamilies[0]`"}},
		{"family", []string{"[10.96.0.7]", "[10.96.0.7]\n  ipFamilies: [IPX]"}, []string{`spec.ipFamilies[0]: Unsupported value: "IPX": supported values: "IPv4", "IPv6"`}},
		{"family twice", []string{"[10.96.0.7]", "[10.96.0.7]\n  ipFamilies: [IPv4, IPv4]"}, []string{`spec.ipFamilies[1]: Duplicate value: "IPv4"`}},
		{"family policy", []string{"[10.96.0.7]", "[10.96.0.7]\n  ipFamilyPolicy: Many"}, []string{`spec.ipFamilyPolicy: Unsupported value: "Many": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"`}},
		{"external name of families", []string{"  clusterIP: 10.96.0.7\n  clusterIPs: [10.96.0.7]\n", "  type: ExternalName\n  externalName: a.b.\n  ipFamilies: [IPv4]\n  ipFamilyPolicy: SingleStack\n"}, []string{
			"spec.ipFamilies: Forbidden: may not be set when `type` is 'ExternalName'", "spec.ipFamilyPolicy: Forbidden: may not be set when `type` is 'ExternalName'",
		}},
		{"distribution", []string{"  selector", "  trafficDistribution: Anywhere\n  selector"}, []string{`spec.trafficDistribution: Unsupported value: "Anywhere": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"`}},
		{"internal policy", []string{"  selector", "  internalTrafficPolicy: Global\n  selector"}, []string{`spec.internalTrafficPolicy: Unsupported value: "Global": supported values: "Cluster", "Local"`}},
		{"health port", []string{"  selector", "  healthCheckNodePort: 30000\n  selector"}, []string{"spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"}},
		{"ranges", []string{"  selector", "  loadBalancerSourceRanges: [10.0.0.0/8]\n  selector"}, []string{"spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"}},
		{"range", []string{"  selector", "  type: LoadBalancer\n  loadBalancerSourceRanges: [x]\n  selector"}, []string{`spec.LoadBalancerSourceRanges[0]: Invalid value: "x"`}},
		{"ranges of old", []string{"{name: web,", "{name: web, annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: '10.0.0.0/8, x'},", "  selector", "  type: LoadBalancer\n  selector"}, []string{
			"metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: \"10.0.0.0/8, x\": must be a list of IP ranges. For example, 10.240.0.0/24,10.250.0.0/24",
		}},
		{"sources kept", []string{"{name: web,", "{name: web, annotations: {peapod.sh/keep-source: 'true'},"}, nil},
		{"sources kept of nodes", []string{"{name: web,", "{name: web, annotations: {peapod.sh/keep-source: 'true'},", "  selector", "  type: NodePort\n  selector"}, []string{
			"metadata.annotations[peapod.sh/keep-source]: Invalid value: \"true\": the addresses of clients outside the cluster can only be kept with spec.externalTrafficPolicy: Local"}},
		{"sources kept locally", []string{"{name: web,", "{name: web, annotations: {peapod.sh/keep-source: 'true'},", "  selector", "  type: NodePort\n  externalTrafficPolicy: Local\n  selector"}, nil},
		{"sources kept perhaps", []string{"{name: web,", "{name: web, annotations: {peapod.sh/keep-source: perhaps},"}, []string{"metadata.annotations[peapod.sh/keep-source]: Unsupported value: \"perhaps\""}},
		{"ranges of old for nobody", []string{"{name: web,", "{name: web, annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: 10.0.0.0/8},"}, []string{"metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden"}},
		{"ports without being asked", []string{"  selector", "  allocateLoadBalancerNodePorts: false\n  selector"}, []string{"spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'"}},
	})
	dual := edit(t, goodService, "[10.96.0.7]", "[10.96.0.7, 'fd00::7']\n  ipFamilies: [IPv4, IPv6]\n  ipFamilyPolicy: PreferDualStack")
	runUpdates(t, "services", dual, []badObject{
		{"one family less", []string{"[10.96.0.7, 'fd00::7']", "[10.96.0.7]", "[IPv4, IPv6]", "[IPv4]", "PreferDualStack", "SingleStack"}, nil},
		{"one family less in silence", []string{"[10.96.0.7, 'fd00::7']", "[10.96.0.7]", "[IPv4, IPv6]", "[IPv4]"}, []string{
			`spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary clusterIP`,
			`spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary ipFamily`,
		}},
		{"other second address", []string{"fd00::7", "fd00::8"}, []string{`spec.clusterIPs[1]: Invalid value: ["10.96.0.7","fd00::8"]: may not change once set`}},
	})
	single := edit(t, goodService, "[10.96.0.7]", "[10.96.0.7]\n  ipFamilies: [IPv4]")
	runUpdates(t, "services", single, []badObject{
		{"one family more", []string{"[10.96.0.7]", "[10.96.0.7, 'fd00::7']", "[IPv4]", "[IPv4, IPv6]\n  ipFamilyPolicy: RequireDualStack"}, nil},
		{"other family", []string{"[IPv4]", "[IPv6]"}, []string{`spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set`, "spec.clusterIPs[0]: Invalid value"}},
	})
}

func TestServiceStatus(t *testing.T) {
	k := kindNamed(t, "services")
	for _, c := range []struct {
		name, kind, status string
		want               []string
	}{
		{"good", "LoadBalancer", "[{ip: 192.0.2.1}, {hostname: lb.example.com}]", nil},
		{"of no balancer", "ClusterIP", "[{ip: 192.0.2.1}]", []string{"status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"}},
		{"address", "LoadBalancer", "[{ip: x}]", []string{`status.loadBalancer.ingress[0].ip: Invalid value: "x"`}},
		{"mode", "LoadBalancer", "[{ip: 192.0.2.1, ipMode: Odd}]", []string{`status.loadBalancer.ingress[0].ipMode: Unsupported value: "Odd": supported values: "Proxy", "VIP"`}},
		{"mode of a name", "LoadBalancer", "[{hostname: a.b, ipMode: VIP}]", []string{"status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set"}},
		{"address as a name", "LoadBalancer", "[{hostname: 192.0.2.1}]", []string{`status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, "services", edit(t, goodService, "  selector", "  type: "+c.kind+"\n  selector")+"status: {loadBalancer: {ingress: "+c.status+"}}")
			old := load(t, "services", edit(t, goodService, "  selector", "  type: "+c.kind+"\n  selector"))
			sameFaults(t, k.ValidateStatusUpdate(s, old), c.want...)
		})
	}
}

func TestServiceWarnings(t *testing.T) {
	s := load(t, "services", "metadata: {name: a}\nspec: {clusterIP: None, sessionAffinity: ClientIP, externalIPs: [192.0.2.1], loadBalancerIP: 192.0.2.1, trafficDistribution: PreferClose}")
	want := []string{
		"spec.loadBalancerIP is ignored for headless services", "spec.externalIPs is ignored for headless services", "spec.SessionAffinity is ignored for headless services",
		"spec.trafficDistribution: PreferClose is deprecated; use PreferSameZone instead",
	}
	if diff := cmp.Diff(want, kindNamed(t, "services").Warnings(s, nil)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
