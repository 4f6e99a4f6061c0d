package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// dropDisabledPodFields clears the fields of a pod's spec that are off in Kubernetes v1.37 unless someone turns their feature on, so
// that nobody believes they do something. before is the spec as it was, or nil: a field that is in use is kept.
func dropDisabledPodFields(now, before *corev1.PodSpec) {
	used := disabledInUse(before)
	if !used.group {
		now.SchedulingGroup = nil // GenericWorkload
	}
	if !used.responders {
		now.EvictionResponders = nil // EvictionRequestAPI
	}
	for i := range now.Volumes {
		dropVolumeFields(&now.Volumes[i].VolumeSource, used)
	}
	eachContainer(now, nil, func(c *corev1.Container, _ *field.Path) { dropContainerFields(c, used) })
}

// disabled says which of the disabled features a spec uses.
type disabled struct {
	group, responders, emptyDirMode, users, mountOptions, probeProtocol, probeMode bool
}

func disabledInUse(s *corev1.PodSpec) (d disabled) {
	if s == nil {
		return d
	}
	d.group, d.responders = s.SchedulingGroup != nil, len(s.EvictionResponders) > 0
	for i := range s.Volumes {
		v := &s.Volumes[i]
		d.emptyDirMode = d.emptyDirMode || v.EmptyDir != nil && v.EmptyDir.Mode != nil
		eachUser(&v.VolumeSource, func(user **int64) { d.users = d.users || *user != nil })
	}
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) {
		for i := range c.VolumeMounts {
			d.mountOptions = d.mountOptions || len(c.VolumeMounts[i].BindMountOptions) > 0
		}
		eachHTTPGet(c, func(a *corev1.HTTPGetAction) { d.probeProtocol = d.probeProtocol || a.Protocol != nil })
		eachGRPC(c, func(a *corev1.GRPCAction) { d.probeMode = d.probeMode || a.Mode != nil })
	})
	return d
}

func dropVolumeFields(v *corev1.VolumeSource, used disabled) {
	if v.EmptyDir != nil && !used.emptyDirMode {
		v.EmptyDir.Mode = nil // EmptyDirVolumeMode
	}
	if !used.users {
		eachUser(v, func(user **int64) { *user = nil }) // AtomicWriteVolumeUserFields
	}
}

func dropContainerFields(c *corev1.Container, used disabled) {
	if !used.mountOptions {
		for i := range c.VolumeMounts {
			c.VolumeMounts[i].BindMountOptions = nil // VolumeBindMountOptions
		}
	}
	if !used.probeProtocol {
		eachHTTPGet(c, func(a *corev1.HTTPGetAction) { a.Protocol = nil }) // H2CContainerProbe
	}
	if !used.probeMode {
		eachGRPC(c, func(a *corev1.GRPCAction) { a.Mode = nil }) // GRPCContainerProbeTLS
	}
}

// eachUser visits the fields of a volume that say to whom its files belong.
func eachUser(v *corev1.VolumeSource, visit func(user **int64)) {
	items := func(list []corev1.KeyToPath) {
		for i := range list {
			visit(&list[i].User)
		}
	}
	files := func(list []corev1.DownwardAPIVolumeFile) {
		for i := range list {
			visit(&list[i].User)
		}
	}
	switch {
	case v.Secret != nil:
		visit(&v.Secret.DefaultUser)
		items(v.Secret.Items)
	case v.ConfigMap != nil:
		visit(&v.ConfigMap.DefaultUser)
		items(v.ConfigMap.Items)
	case v.DownwardAPI != nil:
		visit(&v.DownwardAPI.DefaultUser)
		files(v.DownwardAPI.Items)
	case v.Projected != nil:
		visit(&v.Projected.DefaultUser)
		for i := range v.Projected.Sources {
			eachProjectedUser(&v.Projected.Sources[i], visit, items, files)
		}
	}
}

func eachProjectedUser(p *corev1.VolumeProjection, visit func(user **int64), items func([]corev1.KeyToPath), files func([]corev1.DownwardAPIVolumeFile)) {
	if p.Secret != nil {
		items(p.Secret.Items)
	}
	if p.ConfigMap != nil {
		items(p.ConfigMap.Items)
	}
	if p.DownwardAPI != nil {
		files(p.DownwardAPI.Items)
	}
	if p.ServiceAccountToken != nil {
		visit(&p.ServiceAccountToken.User)
	}
	if p.ClusterTrustBundle != nil {
		visit(&p.ClusterTrustBundle.User)
	}
	if p.PodCertificate != nil {
		visit(&p.PodCertificate.User)
	}
}

func eachHTTPGet(c *corev1.Container, visit func(*corev1.HTTPGetAction)) {
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && p.HTTPGet != nil {
			visit(p.HTTPGet)
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if h != nil && h.HTTPGet != nil {
			visit(h.HTTPGet)
		}
	}
}

func eachGRPC(c *corev1.Container, visit func(*corev1.GRPCAction)) {
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && p.GRPC != nil {
			visit(p.GRPC)
		}
	}
}
