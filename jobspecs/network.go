package jobspecs

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// network is a group's network block.
type network struct {
	host     bool
	hostname string
	dns      *corev1.PodDNSConfig
	ports    []port
}

// port is one port of a group: where the task listens, and the node's port if it has one.
type port struct {
	*block
	label           string
	container, host int32
}

func portNamed(ports []port, label string) (port, bool) {
	for _, p := range ports {
		if p.label == label {
			return p, true
		}
	}
	return port{}, false
}

// objectName is the port's name in the container; empty if Kubernetes would not take it as a name.
func (p port) objectName() string {
	if len(validation.IsValidPortName(p.label)) > 0 || len(p.label) > portNameMax {
		return ""
	}
	return p.label
}

func (b *block) readNetwork() network {
	n := b.one("network")
	if n == nil {
		return network{}
	}
	var out network
	switch mode := n.text("mode"); mode {
	case "", "bridge":
	case "host":
		out.host = true
	case "none":
		n.fault(n.where("mode"), "every pod has an address; there is no mode none")
	default:
		n.fault(n.where("mode"), "mode must be bridge or host, not %q: Peapod has a network of its own", mode)
	}
	if out.hostname = n.text("hostname"); out.hostname != "" {
		if faults := validation.IsDNS1123Label(out.hostname); len(faults) > 0 {
			n.fault(n.where("hostname"), "hostname %q: %s", out.hostname, faults[0])
		}
	}
	out.dns = n.readDNS()
	for _, p := range n.each("port") {
		if _, twice := portNamed(out.ports, p.name()); twice {
			p.fault(p.at, "port %q stands twice in this network", p.name())
			continue
		}
		out.ports = append(out.ports, p.readPort(out.host))
	}
	return out
}

func (b *block) readPort(hostNetwork bool) port {
	p := port{block: b, label: b.name()}
	static, hasStatic := b.number("static", 1, 65535)
	to, hasTo := b.number("to", -1, 65535)
	if hasTo && to < 1 {
		b.fault(b.where("to"), "every pod has an address of its own: say with `to` on which port the task listens")
	}
	if !hasTo && !hasStatic && !b.has("to") && !b.has("static") {
		b.fault(b.at, "every pod has an address of its own, so no port is drawn: say with `to` on which port the task listens")
	}
	if !hasTo {
		to = static
	}
	if hostNetwork {
		if hasStatic && hasTo && to != static {
			b.fault(b.where("to"), "in the host's network a port can't be mapped: leave out `to`")
		}
		static = to
	}
	p.container, p.host = int32(to), int32(static) // #nosec G115 -- both are at most 65535
	return p
}

func (b *block) readDNS() *corev1.PodDNSConfig {
	d := b.one("dns")
	if d == nil {
		return nil
	}
	out := &corev1.PodDNSConfig{Nameservers: d.texts("servers"), Searches: d.texts("searches")}
	if len(out.Nameservers) == 0 {
		d.fault(d.at, "dns needs servers")
	}
	for _, o := range d.texts("options") {
		out.Options = append(out.Options, dnsOption(o))
	}
	return out
}
