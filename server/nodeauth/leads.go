package nodeauth

import (
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// leadsTo says whether one of the node's pods, or what it uses, names the object.
func (q question) leadsTo(gr schema.GroupResource, namespace, name string) bool {
	switch gr {
	case attachments:
		o, _ := q.state.Get(gr, "", name)
		a, ok := o.(*storagev1.VolumeAttachment)
		return ok && a.Spec.NodeName == q.node
	case deviceSlices:
		o, _ := q.state.Get(gr, "", name)
		s, ok := o.(*resourcev1.ResourceSlice)
		return ok && s.Spec.NodeName != nil && *s.Spec.NodeName == q.node
	case certificateRequests:
		o, _ := q.state.Get(gr, namespace, name)
		r, ok := o.(*certificatesv1.PodCertificateRequest)
		return ok && string(r.Spec.NodeName) == q.node
	}
	return slices.ContainsFunc(q.state.PodsOfNode(q.node), func(p *api.PodRecord) bool { return q.podLeadsTo(p, gr, namespace, name) })
}

func (q question) podLeadsTo(p *api.PodRecord, gr schema.GroupResource, namespace, name string) bool {
	if gr == volumes {
		return slices.ContainsFunc(q.volumesOf(p), func(v *corev1.PersistentVolume) bool { return v.Name == name })
	}
	if gr == secrets && slices.ContainsFunc(q.volumesOf(p), func(v *corev1.PersistentVolume) bool { return volumeNamesSecret(v, namespace, name) }) {
		return true
	}
	if p.Namespace() != namespace {
		return false
	}
	switch gr {
	case pods:
		return p.Name == name
	case claims:
		return slices.Contains(claimsOf(p), name)
	case deviceClaims:
		return namesDeviceClaim(p, name)
	}
	return Names(p.Spec(), gr, name)
}

// claimsOf are the names of the claims that a pod's volumes have.
func claimsOf(p *api.PodRecord) (out []string) {
	list := p.Spec().Volumes
	for i := range list {
		switch v := &list[i]; {
		case v.PersistentVolumeClaim != nil:
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out = append(out, p.Name+"-"+v.Name)
		}
	}
	return out
}

// volumesOf are the volumes that a pod's claims are bound to.
func (q question) volumesOf(p *api.PodRecord) (out []*corev1.PersistentVolume) {
	for _, name := range claimsOf(p) {
		o, _ := q.state.Get(claims, p.Namespace(), name)
		c, ok := o.(*corev1.PersistentVolumeClaim)
		if !ok || c.Spec.VolumeName == "" {
			continue
		}
		o, _ = q.state.Get(volumes, "", c.Spec.VolumeName)
		if v, ok := o.(*corev1.PersistentVolume); ok && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace == p.Namespace() && v.Spec.ClaimRef.Name == name {
			out = append(out, v)
		}
	}
	return out
}

// volumeNamesSecret says whether a node needs the secret to mount the volume. What only a controller needs is not for nodes.
func volumeNamesSecret(v *corev1.PersistentVolume, namespace, name string) bool {
	is := func(r *corev1.SecretReference) bool {
		if r == nil || r.Name != name {
			return false
		}
		return r.Namespace == namespace || r.Namespace == "" && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace == namespace
	}
	if c := v.Spec.CSI; c != nil && (is(c.NodeStageSecretRef) || is(c.NodePublishSecretRef) || is(c.NodeExpandSecretRef)) {
		return true
	}
	if c := v.Spec.ISCSI; c != nil && is(c.SecretRef) {
		return true
	}
	return v.Spec.FlexVolume != nil && is(v.Spec.FlexVolume.SecretRef)
}

// namesDeviceClaim looks at the claims of the spec, and at those that were made for the pod of templates, which its status names.
func namesDeviceClaim(p *api.PodRecord, name string) bool {
	wants := p.Spec().ResourceClaims
	if len(wants) == 0 {
		return false
	}
	if slices.ContainsFunc(wants, func(c corev1.PodResourceClaim) bool {
		return c.ResourceClaimName != nil && *c.ResourceClaimName == name
	}) {
		return true
	}
	status := p.DecodeStatus()
	if e := status.ExtendedResourceClaimStatus; e != nil && e.ResourceClaimName == name {
		return true
	}
	return slices.ContainsFunc(status.ResourceClaimStatuses, func(c corev1.PodResourceClaimStatus) bool {
		return c.ResourceClaimName != nil && *c.ResourceClaimName == name
	})
}
