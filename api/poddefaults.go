package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	helpers "k8s.io/component-helpers/resource"
)

// fill sets *p to v if it is the zero value.
func fill[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// fillPtr points *p at v if it points at nothing.
func fillPtr[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

// defaultPod fills in a pod that stands for itself; what templates do not get is here and not in
// defaultPodSpec: requests that follow limits, ports of the node, and service links.
func defaultPod(p *corev1.Pod) {
	defaultPodSpec(&p.Spec)
	for i := range p.Spec.InitContainers {
		requestLimits(&p.Spec.InitContainers[i].Resources)
		defaultHostPorts(&p.Spec.InitContainers[i], p.Spec.HostNetwork)
	}
	for i := range p.Spec.Containers {
		requestLimits(&p.Spec.Containers[i].Resources)
		defaultHostPorts(&p.Spec.Containers[i], p.Spec.HostNetwork)
	}
	requestPodLimits(p)
	fillPtr(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	syncPodIPs(&p.Status)
}

// requestLimits requests what is limited and not requested.
func requestLimits(r *corev1.ResourceRequirements) {
	r.Requests = addMissing(r.Requests, r.Limits, func(corev1.ResourceName) bool { return true })
}

// requestPodLimits completes the requests of the pod as a whole: the sum of its containers, if any
// of them asks, else what the pod is limited to. Huge pages are limited to the sum, and asked for as limited.
func requestPodLimits(p *corev1.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Requests)+len(r.Limits) == 0 {
		return
	}
	r.Limits = addMissing(r.Limits, helpers.AggregateContainerLimits(p, helpers.PodResourcesOptions{}), hugePages)
	r.Requests = addMissing(r.Requests, helpers.AggregateContainerRequests(p, helpers.PodResourcesOptions{}), func(name corev1.ResourceName) bool {
		return helpers.IsSupportedPodLevelResource(name) && overcommittable(name)
	})
	r.Requests = addMissing(r.Requests, r.Limits, helpers.IsSupportedPodLevelResource)
}

// addMissing adds those of more that are wanted and not there.
func addMissing(list, more corev1.ResourceList, wanted func(corev1.ResourceName) bool) corev1.ResourceList {
	for name, q := range more {
		if _, ok := list[name]; ok || !wanted(name) {
			continue
		}
		if list == nil {
			list = corev1.ResourceList{}
		}
		list[name] = q.DeepCopy()
	}
	return list
}

// syncPodIPs keeps the old field podIP the first of podIPs.
func syncPodIPs(s *corev1.PodStatus) {
	if s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP) {
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	if s.PodIP == "" && len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

// defaultPodSpec fills in a pod's spec, also inside the templates of other kinds.
func defaultPodSpec(s *corev1.PodSpec) {
	fill(&s.DNSPolicy, corev1.DNSClusterFirst)
	fill(&s.RestartPolicy, corev1.RestartPolicyAlways)
	fill(&s.SchedulerName, corev1.DefaultSchedulerName)
	fillPtr(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	fillPtr(&s.SecurityContext, corev1.PodSecurityContext{})
	syncServiceAccount(s)
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		defaultContainer((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
	roundUp(s.Overhead)
	if s.Resources != nil {
		roundUp(s.Resources.Requests)
		roundUp(s.Resources.Limits)
	}
}

// syncServiceAccount keeps the old spelling of the field equal to the new one.
func syncServiceAccount(s *corev1.PodSpec) {
	if s.ServiceAccountName == "" {
		s.ServiceAccountName = s.DeprecatedServiceAccount
	}
	s.DeprecatedServiceAccount = s.ServiceAccountName
}

// defaultHostPorts: on the node's network a container listens on the node's ports.
func defaultHostPorts(c *corev1.Container, hostNetwork bool) {
	if !hostNetwork {
		return
	}
	for i := range c.Ports {
		fill(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
	}
}

func defaultContainer(c *corev1.Container) {
	fill(&c.ImagePullPolicy, pullPolicyOf(c.Image))
	fill(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	fill(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		fill(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
			if from.FileKeyRef != nil {
				fillPtr(&from.FileKeyRef.Optional, false)
			}
		}
	}
	roundUp(c.Resources.Requests)
	roundUp(c.Resources.Limits)
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if c.Lifecycle != nil {
		defaultHandler(c.Lifecycle.PostStart)
		defaultHandler(c.Lifecycle.PreStop)
	}
}

// pullPolicyOf: an image that may move is pulled each time. That is one tagged latest, or neither
// tagged nor pinned by a digest.
func pullPolicyOf(image string) corev1.PullPolicy {
	name, _, digest := strings.Cut(image, "@")
	_, tag, tagged := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	if tag == "latest" || (!tagged && !digest) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func defaultFieldRef(r *corev1.ObjectFieldSelector) {
	if r != nil {
		fill(&r.APIVersion, "v1")
	}
}

// roundUp makes every quantity a whole number of thousandths, the finest that is scheduled.
func roundUp(list corev1.ResourceList) {
	for name, q := range list {
		if q.RoundUp(resource.Milli) {
			continue // exact already, and then the map holds the same value
		}
		list[name] = q
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	fill(&p.TimeoutSeconds, 1)
	fill(&p.PeriodSeconds, 10)
	fill(&p.SuccessThreshold, 1)
	fill(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		fillPtr(&p.GRPC.Service, "")
	}
}

func defaultHandler(h *corev1.LifecycleHandler) {
	if h != nil {
		defaultHTTPGet(h.HTTPGet)
	}
}

func defaultHTTPGet(a *corev1.HTTPGetAction) {
	if a != nil {
		fill(&a.Path, "/")
		fill(&a.Scheme, corev1.URISchemeHTTP)
	}
}

// defaultVolume: a volume of no stated source is an empty directory.
func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch s := &v.VolumeSource; {
	case s.Secret != nil:
		fillPtr(&s.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	case s.ConfigMap != nil:
		fillPtr(&s.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	case s.DownwardAPI != nil:
		fillPtr(&s.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownward(s.DownwardAPI.Items)
	case s.Projected != nil:
		fillPtr(&s.Projected.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
		for i := range s.Projected.Sources {
			defaultProjection(&s.Projected.Sources[i])
		}
	case s.HostPath != nil:
		fillPtr(&s.HostPath.Type, corev1.HostPathUnset)
	case s.ISCSI != nil:
		fill(&s.ISCSI.ISCSIInterface, iscsiInterfaceDefault)
	case s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate != nil:
		defaultPersistentVolumeClaimSpec(&s.Ephemeral.VolumeClaimTemplate.Spec)
	case s.Image != nil:
		fill(&s.Image.PullPolicy, pullPolicyOf(s.Image.Reference))
	}
	defaultOldVolume(&v.VolumeSource)
}

func defaultProjection(p *corev1.VolumeProjection) {
	if p.ServiceAccountToken != nil {
		fillPtr(&p.ServiceAccountToken.ExpirationSeconds, int64(60*60))
	}
	if p.DownwardAPI != nil {
		defaultDownward(p.DownwardAPI.Items)
	}
	if p.PodCertificate != nil {
		fillPtr(&p.PodCertificate.MaxExpirationSeconds, podCertificateSecondsDefault)
	}
}

func defaultDownward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

// iscsiInterfaceDefault is iSCSI over plain TCP.
const iscsiInterfaceDefault = "default"

// defaultOldVolume serves the storage systems that Kubernetes once knew by name.
func defaultOldVolume(s *corev1.VolumeSource) {
	if r := s.RBD; r != nil {
		defaultRBD(&r.RBDPool, &r.RadosUser, &r.Keyring)
	}
	defaultAzureDisk(s.AzureDisk)
	if d := s.ScaleIO; d != nil {
		defaultScaleIO(&d.StorageMode, &d.FSType)
	}
}

// The functions below fill in what a volume of a pod and a persistent volume have alike.

func defaultRBD(pool, user, keyring *string) {
	fill(pool, "rbd")
	fill(user, "admin")
	fill(keyring, "/etc/ceph/keyring")
}

func defaultScaleIO(mode, fsType *string) {
	fill(mode, "ThinProvisioned")
	fill(fsType, "xfs")
}

func defaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	if d == nil {
		return
	}
	fillPtr(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	fillPtr(&d.Kind, corev1.AzureSharedBlobDisk)
	fillPtr(&d.FSType, "ext4")
	fillPtr(&d.ReadOnly, false)
}

// quarter is the usual slack of a rolling update.
func quarter() intstr.IntOrString { return intstr.FromString("25%") }
