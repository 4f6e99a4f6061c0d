package kube

import (
	"fmt"
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

const (
	// accountMountPath is where client libraries look for their credentials.
	accountMountPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	accountVolume    = "kube-api-access-"
	// accountTokenSeconds is an hour and a little, by which Kubernetes tells these tokens from those that somebody asked for.
	accountTokenSeconds = 3607
	rootCAConfigMap     = "kube-root-ca.crt"
)

// nameServiceAccount gives a pod the namespace's default account; the old field name follows.
func nameServiceAccount(p *corev1.Pod) {
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = p.Spec.DeprecatedServiceAccount
	}
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = defaultAccount
	}
	p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName
}

const defaultAccount = "default"

// giveAccount gives a pod what its account brings: pull secrets, and the credentials for the API.
func giveAccount(p *corev1.Pod, account *corev1.ServiceAccount) {
	if len(p.Spec.ImagePullSecrets) == 0 {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, account.ImagePullSecrets...)
	}
	if automounts(p, account) {
		mountAccount(p)
	}
}

func automounts(p *corev1.Pod, account *corev1.ServiceAccount) bool {
	switch {
	case p.Spec.AutomountServiceAccountToken != nil:
		return *p.Spec.AutomountServiceAccountToken
	case account.AutomountServiceAccountToken != nil:
		return *account.AutomountServiceAccountToken
	}
	return true
}

// mountAccount mounts the credentials into each container that has nothing in that place.
func mountAccount(p *corev1.Pod) {
	name, there := accountVolumeOf(p)
	needed := false
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			needed = mountAt(&list[i], name) || needed
		}
	}
	if needed && !there {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: accountProjection()}})
	}
}

func mountAt(c *corev1.Container, volume string) bool {
	for _, m := range c.VolumeMounts {
		if m.MountPath == accountMountPath {
			return false
		}
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: accountMountPath})
	return true
}

// accountVolumeOf is the name of the volume, and whether the pod has it. The name follows from the pod's, so that the
// pods of one template have the same spec.
func accountVolumeOf(p *corev1.Pod) (string, bool) {
	for _, v := range p.Spec.Volumes {
		if strings.HasPrefix(v.Name, accountVolume) {
			return v.Name, true
		}
	}
	h := fnv.New32a()
	h.Write([]byte(p.Namespace + "/" + p.GenerateName + p.Name))
	return accountVolume + rand.SafeEncodeString(fmt.Sprintf("%05d", h.Sum32()%100000)), false
}

func accountProjection() *corev1.ProjectedVolumeSource {
	seconds, mode := int64(accountTokenSeconds), int32(0o644)
	return &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: corev1.ServiceAccountTokenKey, ExpirationSeconds: &seconds}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: rootCAConfigMap},
			Items: []corev1.KeyToPath{{Key: corev1.ServiceAccountRootCAKey, Path: corev1.ServiceAccountRootCAKey}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: corev1.ServiceAccountNamespaceKey,
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
}
