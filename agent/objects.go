package agent

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
)

// objects reads typed objects through the control plane.
type objects struct{ control ControlPlane }

// ConfigMap reads one.
func (o objects) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, bool, error) {
	b, found, err := o.control.Get(ctx, "configmaps", namespace, name)
	if err != nil || !found {
		return nil, false, wrapGet(err, "configmap", namespace, name)
	}
	cm := &corev1.ConfigMap{}
	return cm, true, wrapGet(cm.Unmarshal(b), "configmap", namespace, name)
}

// Secret reads one.
func (o objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, bool, error) {
	b, found, err := o.control.Get(ctx, "secrets", namespace, name)
	if err != nil || !found {
		return nil, false, wrapGet(err, "secret", namespace, name)
	}
	s := &corev1.Secret{}
	return s, true, wrapGet(s.Unmarshal(b), "secret", namespace, name)
}

// Claim reads one.
func (o objects) Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, bool, error) {
	b, found, err := o.control.Get(ctx, "persistentvolumeclaims", namespace, name)
	if err != nil || !found {
		return nil, false, wrapGet(err, "persistentvolumeclaim", namespace, name)
	}
	c := &corev1.PersistentVolumeClaim{}
	return c, true, wrapGet(c.Unmarshal(b), "persistentvolumeclaim", namespace, name)
}

// Volume reads one.
func (o objects) Volume(ctx context.Context, name string) (*corev1.PersistentVolume, bool, error) {
	b, found, err := o.control.Get(ctx, "persistentvolumes", "", name)
	if err != nil || !found {
		return nil, false, wrapGet(err, "persistentvolume", "", name)
	}
	v := &corev1.PersistentVolume{}
	return v, true, wrapGet(v.Unmarshal(b), "persistentvolume", "", name)
}

// TrustBundle reads the trust anchors of one.
func (o objects) TrustBundle(ctx context.Context, name string) (string, bool, error) {
	b, found, err := o.control.Get(ctx, "clustertrustbundles.certificates.k8s.io", "", name)
	if err != nil || !found {
		return "", false, wrapGet(err, "clustertrustbundle", "", name)
	}
	t := &certificatesv1.ClusterTrustBundle{}
	err = t.Unmarshal(b)
	return t.Spec.TrustBundle, true, wrapGet(err, "clustertrustbundle", "", name)
}

// RuntimeClass reads one.
func (o objects) RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, bool, error) {
	b, found, err := o.control.Get(ctx, "runtimeclasses.node.k8s.io", "", name)
	if err != nil || !found {
		return nil, false, wrapGet(err, "runtimeclass", "", name)
	}
	c := &nodev1.RuntimeClass{}
	return c, true, wrapGet(c.Unmarshal(b), "runtimeclass", "", name)
}

// Token issues a service account token; found is false where the control plane cannot.
func (o objects) Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token []byte, found bool, err error) {
	ts, ok := o.control.(TokenSource)
	if !ok {
		return nil, false, nil
	}
	token, err = ts.Token(ctx, pod, audience, seconds)
	return token, err == nil, err
}

func wrapGet(err error, kind, namespace, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading %s %s/%s: %w", kind, namespace, name, err)
}
