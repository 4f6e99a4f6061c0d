package agent

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/peapod-sh/peapod/agent/volume"
)

// environment is an ordered set of variables: a later value replaces an earlier one in its place.
type environment struct {
	names  []string
	values map[string]string
}

func newEnvironment() *environment { return &environment{values: map[string]string{}} }

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) list() []string {
	out := make([]string, len(e.names))
	for i, n := range e.names {
		out[i] = n + "=" + e.values[n]
	}
	return out
}

func (e *environment) expandAll(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = expand(s, e.values)
	}
	return out
}

// expand replaces $(NAME) by its value. $$ is a dollar sign that starts no reference; references to
// unknown names stay as they are.
func expand(s string, values map[string]string) string {
	return expandBy(s, func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	})
}

// missing names the references in s whose values are not there or empty, in order.
func missing(s string, values map[string]string) (names []string) {
	expandBy(s, func(name string) (string, bool) {
		if values[name] == "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
		return "", true
	})
	slices.Sort(names)
	return names
}

func expandBy(s string, value func(name string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteString("$(")
				i++
				continue
			}
			if v, ok := value(s[i+2 : i+end]); ok {
				b.WriteString(v)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// environment resolves a container's variables: the image's, those of services, envFrom, then env.
func (s *start) environment(ctx context.Context, img *Image) (*environment, error) {
	e := newEnvironment()
	for _, kv := range img.Env {
		name, value, _ := strings.Cut(kv, "=")
		e.set(name, value)
	}
	host, err := s.a.kernelHostname(s.pod)
	if err != nil {
		return nil, err
	}
	e.set("HOSTNAME", host)
	s.a.serviceVariables(s.pod, e)
	declared := map[string]string{} // what $(NAME) may refer to: not the image's
	for _, n := range e.names[len(img.Env):] {
		declared[n] = e.values[n]
	}
	r := resolver{pod: s.pod, spec: s.spec, ips: s.ips, a: s.a, maps: map[string]map[string]string{}}
	for _, from := range s.spec.EnvFrom {
		values, err := r.from(ctx, from)
		if err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(values)) {
			if len(validation.IsEnvVarName(from.Prefix+k)) == 0 {
				e.set(from.Prefix+k, values[k])
				declared[from.Prefix+k] = values[k]
			}
		}
	}
	for i := range s.spec.Env {
		v := &s.spec.Env[i]
		value, ok, err := r.value(ctx, v, declared)
		if err != nil {
			return nil, err
		}
		if ok {
			e.set(v.Name, value)
			declared[v.Name] = value
		}
	}
	return e, nil
}

// resolver looks values up, each ConfigMap and Secret once a start.
type resolver struct {
	pod  *corev1.Pod
	spec *corev1.Container
	ips  []string
	a    *Agent
	maps map[string]map[string]string // by resource/name; nil is known to be absent
}

func (r *resolver) value(ctx context.Context, v *corev1.EnvVar, declared map[string]string) (string, bool, error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return expand(v.Value, declared), true, nil
	case from.FieldRef != nil:
		s, err := r.field(from.FieldRef.FieldPath)
		return s, true, err
	case from.ResourceFieldRef != nil:
		spec := r.spec
		if n := from.ResourceFieldRef.ContainerName; n != "" {
			spec = findSpec(r.pod, n)
		}
		if spec == nil {
			return "", false, fmt.Errorf("container %s not found", from.ResourceFieldRef.ContainerName)
		}
		s, err := volume.Resource(spec, from.ResourceFieldRef, r.a.node.allocatable(r.a.cfg.PodsMax))
		return s, true, err
	case from.ConfigMapKeyRef != nil:
		k := from.ConfigMapKeyRef
		return r.key(ctx, "configmap", "ConfigMap", k.Name, k.Key, k.Optional)
	case from.SecretKeyRef != nil:
		k := from.SecretKeyRef
		return r.key(ctx, "secret", "Secret", k.Name, k.Key, k.Optional)
	case from.FileKeyRef != nil:
		return r.fileKey(from.FileKeyRef)
	}
	return "", false, nil
}

// fileKey reads a variable that another container of the pod has written into a volume.
func (r *resolver) fileKey(k *corev1.FileKeySelector) (string, bool, error) {
	value, found, err := r.a.vols.EnvKey(string(r.pod.UID), k.VolumeName, k.Path, k.Key)
	if err == nil && !found && (k.Optional == nil || !*k.Optional) {
		err = fmt.Errorf("environment variable key %q not found in file %q", k.Key, filepath.Join(k.VolumeName, k.Path))
	}
	return value, found, err
}

func (r *resolver) field(path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return r.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return r.pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		var ips []string
		for _, ip := range r.a.cfg.NodeIPs {
			ips = append(ips, ip.String())
		}
		if path == "status.hostIP" && len(ips) > 1 {
			ips = ips[:1]
		}
		return strings.Join(ips, ","), nil
	case "status.podIP":
		return primary(r.ips), nil
	case "status.podIPs":
		return strings.Join(r.ips, ","), nil
	}
	return volume.Field(r.pod, path)
}

func (r *resolver) key(ctx context.Context, resource, kind, name, key string, optional *bool) (string, bool, error) {
	may := optional != nil && *optional
	values, err := r.load(ctx, resource, name)
	switch {
	case err != nil:
		return "", false, err
	case values == nil && may:
		return "", false, nil
	case values == nil:
		return "", false, fmt.Errorf("%s %q not found", resource, name)
	}
	if v, ok := values[key]; ok {
		return v, true, nil
	}
	if may {
		return "", false, nil
	}
	return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, r.pod.Namespace, name)
}

func (r *resolver) from(ctx context.Context, from corev1.EnvFromSource) (map[string]string, error) {
	resource, name, optional := "configmap", "", (*bool)(nil)
	switch {
	case from.ConfigMapRef != nil:
		name, optional = from.ConfigMapRef.Name, from.ConfigMapRef.Optional
	case from.SecretRef != nil:
		resource, name, optional = "secret", from.SecretRef.Name, from.SecretRef.Optional
	default:
		return nil, nil
	}
	values, err := r.load(ctx, resource, name)
	if err == nil && values == nil && (optional == nil || !*optional) {
		err = fmt.Errorf("%s %q not found", resource, name)
	}
	return values, err
}

// load reads a ConfigMap or Secret; nil without error means that there is none.
func (r *resolver) load(ctx context.Context, resource, name string) (map[string]string, error) {
	id := resource + "/" + name
	if v, ok := r.maps[id]; ok {
		return v, nil
	}
	var values map[string]string
	get := objects{r.a.cfg.ControlPlane}
	if resource == "configmap" {
		cm, found, err := get.ConfigMap(ctx, r.pod.Namespace, name)
		if err != nil {
			return nil, err
		}
		if found {
			values = map[string]string{}
			maps.Copy(values, cm.Data)
		}
	} else {
		sec, found, err := get.Secret(ctx, r.pod.Namespace, name)
		if err != nil {
			return nil, err
		}
		if found {
			values = make(map[string]string, len(sec.Data))
			for k, v := range sec.Data {
				values[k] = string(v)
			}
		}
	}
	r.maps[id] = values
	return values, nil
}

// serviceVariables adds the variables of the API server's service, and of the namespace's services
// unless the pod does not want them.
func (a *Agent) serviceVariables(pod *corev1.Pod, e *environment) {
	if a.cfg.Services == nil {
		return
	}
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	if links {
		for _, svc := range a.cfg.Services(pod.Namespace) {
			addService(e, svc)
		}
	}
	if links && pod.Namespace == corev1.NamespaceDefault {
		return
	}
	for _, svc := range a.cfg.Services(corev1.NamespaceDefault) {
		if svc.Name == "kubernetes" {
			addService(e, svc)
		}
	}
}

// addService adds a service's variables, those that Docker's links had included.
func addService(e *environment, svc *corev1.Service) {
	ip := svc.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(svc.Spec.Ports) == 0 {
		return
	}
	prefix := strings.ToUpper(strings.ReplaceAll(svc.Name, "-", "_"))
	e.set(prefix+"_SERVICE_HOST", ip)
	e.set(prefix+"_SERVICE_PORT", strconv.Itoa(int(svc.Spec.Ports[0].Port)))
	for _, p := range svc.Spec.Ports {
		if p.Name != "" {
			e.set(prefix+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")), strconv.Itoa(int(p.Port)))
		}
	}
	for i, p := range svc.Spec.Ports {
		proto := strings.ToLower(string(p.Protocol))
		if proto == "" {
			proto = "tcp"
		}
		host := ip
		if strings.Contains(ip, ":") {
			host = "[" + ip + "]"
		}
		url := fmt.Sprintf("%s://%s:%d", proto, host, p.Port)
		if i == 0 {
			e.set(prefix+"_PORT", url)
		}
		one := fmt.Sprintf("%s_PORT_%d_%s", prefix, p.Port, strings.ToUpper(proto))
		e.set(one, url)
		e.set(one+"_PROTO", proto)
		e.set(one+"_PORT", strconv.Itoa(int(p.Port)))
		e.set(one+"_ADDR", ip)
	}
}
