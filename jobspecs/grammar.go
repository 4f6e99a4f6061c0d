package jobspecs

import "github.com/hashicorp/hcl/v2"

// word is one name that may stand in a block.
type word struct {
	name string
	// attribute, block: how it may stand; some words stand both ways (env = {} and env {}).
	attribute, block bool
	// labels are the names of a block's labels.
	labels []string
	// instead is set for what Nomad has and Peapod has not: what to use.
	instead string
}

// rules are all words of one kind of block.
type rules []word

func attributes(names ...string) rules {
	var out rules
	for _, n := range names {
		out = append(out, word{name: n, attribute: true})
	}
	return out
}

func blocks(names ...string) rules {
	var out rules
	for _, n := range names {
		out = append(out, word{name: n, block: true})
	}
	return out
}

func labelled(label string, names ...string) rules {
	var out rules
	for _, n := range names {
		out = append(out, word{name: n, block: true, labels: []string{label}})
	}
	return out
}

// maps stand as an attribute or as a block of arbitrary names.
func maps(names ...string) rules {
	var out rules
	for _, n := range names {
		out = append(out, word{name: n, attribute: true, block: true})
	}
	return out
}

func noAttribute(name, instead string) rules {
	return rules{{name: name, attribute: true, instead: instead}}
}

func noBlock(name, instead string, labels ...string) rules {
	return rules{{name: name, block: true, labels: labels, instead: instead}}
}

func join(lists ...rules) rules {
	var out rules
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

const (
	insteadSecret  = "keep it in a Secret (a manifest block) and name that in the task"
	insteadService = "service blocks make Kubernetes Services; pods reach each other by name"
	insteadVolume  = "write the Deployment as a manifest block with the volumes it needs, or share files with ephemeral_disk"
	insteadConfig  = "set it in env, or write the Deployment as a manifest block with a ConfigMap volume"
)

// grammar has every block by its kind. Order does not matter.
var grammar = map[string]rules{
	"file": join(labelled("name", "variable", "job"), blocks("locals"),
		rules{{name: "manifest", block: true, labels: []string{"apiVersion", "kind", "name"}}}),
	"variable":   join(attributes("type", "default", "description", "sensitive", "nullable"), blocks("validation")),
	"validation": attributes("condition", "error_message"),
	"job": join(
		attributes("type", "namespace", "datacenters", "node_pool", "priority", "name", "id", "all_at_once", "region"),
		maps("meta"), blocks("constraint", "affinity", "update"), labelled("name", "group"),
		noBlock("task", "put the task in a group", "name"),
		noBlock("periodic", "write a CronJob as a manifest block"),
		noBlock("parameterized", "run the job once per parameter, with -var"),
		noBlock("spread", "pods of a group are spread over the nodes as it is"),
		noBlock("migrate", "a drained node's pods are started elsewhere before they are stopped"),
		noBlock("reschedule", "pods of a lost node are always replaced at once, without a limit"),
		noBlock("multiregion", "run the job in each cluster"),
		noBlock("ui", "meta becomes annotations"),
		noBlock("vault", insteadSecret), noAttribute("vault_token", insteadSecret), noAttribute("consul_token", insteadService)),
	"group": join(
		attributes("count", "shutdown_delay"),
		maps("meta"), blocks("network", "service", "restart", "update", "ephemeral_disk", "constraint", "affinity"), labelled("name", "task"),
		noBlock("volume", insteadVolume, "name"),
		noBlock("scaling", "`peapod job scale` sets the count"),
		noBlock("spread", "pods of a group are spread over the nodes as it is"),
		noBlock("migrate", "a drained node's pods are started elsewhere before they are stopped"),
		noBlock("reschedule", "pods of a lost node are always replaced at once, without a limit"),
		noBlock("disconnect", "pods of a lost node are replaced at once and stopped when it comes back"),
		noAttribute("stop_after_client_disconnect", "a node that lost its servers keeps its pods until they are replaced"),
		noAttribute("max_client_disconnect", "pods of a lost node are replaced at once"),
		noAttribute("prevent_reschedule_on_lost", "pods of a lost node are replaced at once"),
		noBlock("consul", insteadService), noBlock("vault", insteadSecret)),
	"network":        join(attributes("mode", "hostname"), labelled("name", "port"), blocks("dns"), noAttribute("mbits", "bandwidth is not shared out; leave it out"), noBlock("cni", "Peapod has a network of its own; leave it out")),
	"port":           join(attributes("to", "static"), noAttribute("host_network", "ports are opened on every address of the node"), noAttribute("ignore_collision", "give each port of a node to one task")),
	"dns":            attributes("servers", "searches", "options"),
	"restart":        join(attributes("attempts", "interval", "delay", "mode"), noAttribute("render_templates", "leave it out")),
	"ephemeral_disk": join(attributes("size"), noAttribute("sticky", "files of a pod end with it; use a store outside of the pod"), noAttribute("migrate", "files of a pod end with it; use a store outside of the pod")),
	"constraint":     attributes("attribute", "operator", "value", "distinct_hosts", "distinct_property"),
	"affinity":       attributes("attribute", "operator", "value", "weight"),
	"update":         join(attributes("max_parallel", "min_healthy_time", "healthy_deadline", "progress_deadline", "health_check", "canary", "auto_revert", "auto_promote"), noAttribute("stagger", "min_healthy_time paces an update")),
	"service": join(
		attributes("name", "port", "tags", "type", "node_port", "task", "provider", "address_mode"),
		blocks("check", "check_restart"), maps("meta"),
		noAttribute("on_update", "leave it out"), noAttribute("canary_tags", "leave it out"), noAttribute("enable_tag_override", "leave it out"),
		noAttribute("address", "write a Service and its Endpoints as manifest blocks"), noAttribute("cluster", insteadService),
		noBlock("connect", insteadService), noBlock("identity", "a pod's identity is its ServiceAccount"), noBlock("weights", "traffic goes to ready pods in equal shares")),
	"check": join(
		attributes("type", "name", "path", "protocol", "port", "interval", "timeout", "command", "args", "task", "method", "success_before_passing", "failures_before_critical", "grpc_service", "tls_skip_verify", "grpc_use_tls"),
		blocks("check_restart", "header"),
		noAttribute("body", "probes send no body"), noAttribute("expose", insteadService), noAttribute("address_mode", "checks ask the pod's own address"),
		noAttribute("initial_status", "a pod is ready when its first check passes"), noAttribute("on_update", "leave it out"), noAttribute("tls_server_name", "leave it out")),
	"check_restart": join(attributes("limit", "grace"), noAttribute("ignore_warnings", "checks pass or fail; leave it out")),
	"task": join(
		attributes("driver", "user", "kill_timeout", "kill_signal", "shutdown_delay", "leader"),
		maps("env", "meta"), blocks("config", "resources", "lifecycle", "constraint", "affinity", "service", "restart"),
		noBlock("template", insteadConfig), noBlock("artifact", "build it into the image"),
		noBlock("volume_mount", insteadVolume), noBlock("vault", insteadSecret), noBlock("consul", insteadService),
		noBlock("identity", "a pod's identity is its ServiceAccount", "name"), noBlock("logs", "`peapod logs` reads logs; nodes rotate them"),
		noBlock("dispatch_payload", "pass it in env"), noBlock("scaling", "requests and limits are set in resources", "name"), noBlock("csi_plugin", insteadVolume),
		noAttribute("kind", insteadService), noBlock("action", "`peapod exec` runs a command in a task", "name"), noBlock("schedule", "write a CronJob as a manifest block")),
	"config": join(
		attributes("image", "command", "args", "entrypoint", "ports", "privileged", "cap_add", "cap_drop", "work_dir", "readonly_rootfs", "force_pull", "image_pull_timeout", "tty", "hostname"),
		noAttribute("volumes", insteadVolume), noBlock("mount", insteadVolume), noAttribute("mounts", insteadVolume),
		noAttribute("network_mode", "say network { mode = \"host\" } in the group"), noAttribute("port_map", "say network { port \"name\" { to = 8080 } } in the group"),
		noAttribute("extra_hosts", "pods find each other by the names of Services"), noAttribute("dns_servers", "say network { dns { servers = [...] } } in the group"),
		noBlock("auth", "name a pull secret in a Deployment written as a manifest block"), noBlock("logging", "`peapod logs` reads logs; nodes rotate them"),
		noAttribute("sysctl", "set it on the node"), noBlock("sysctl", "set it on the node"), noAttribute("labels", "meta becomes annotations"), noBlock("labels", "meta becomes annotations"),
		noAttribute("pid_mode", "each pod has its own"), noAttribute("ipc_mode", "each pod has its own"), noAttribute("devices", "privileged tasks see the node's devices"),
		noAttribute("shm_size", "leave it out"), noAttribute("ulimit", "set it on the node"), noBlock("ulimit", "set it on the node"),
		noAttribute("init", "each pod has a process that reaps already"), noAttribute("security_opt", "leave it out"), noAttribute("runtime", "one runtime is built in")),
	"resources": join(attributes("cpu", "cores", "memory", "memory_max"), noBlock("network", "move it to the group"), noBlock("device", "devices are not shared out; use a constraint and a privileged task", "name"), noBlock("numa", "leave it out"), noAttribute("secrets", "leave it out"), noAttribute("disk", "say ephemeral_disk in the group")),
	"lifecycle": attributes("hook", "sidecar"),
}

// schema is what HCL needs to know of a kind of block to find its words.
func schema(kind string) *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, w := range grammar[kind] {
		if w.attribute {
			s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: w.name})
		}
		if w.block {
			s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: w.name, LabelNames: w.labels})
		}
	}
	return s
}

// instead tells whether a word is one that Peapod refuses, and what to use.
func instead(kind, name string) string {
	for _, w := range grammar[kind] {
		if w.name == name {
			return w.instead
		}
	}
	return ""
}
