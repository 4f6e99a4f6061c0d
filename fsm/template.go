package fsm

import (
	"crypto/sha256"
	"reflect"
	"runtime"
	"sync"
	"weak"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// templateCache lets pods of equal templates share one, also across plans and after a restart.
// It only saves memory: whether it hits changes nothing that can be seen, so weak pointers do no
// harm to determinism.
type templateCache struct {
	mu     sync.Mutex
	byHash map[[32]byte]weak.Pointer[api.PodTemplate]
	// latest is the newest template of each controller: that of the next pod may have most in common with it.
	latest map[types.UID]weak.Pointer[api.PodTemplate]
}

// intern makes p (which it takes over) a template, or finds the one there is.
func (c *templateCache) intern(p *corev1.Pod) (*api.PodTemplate, error) {
	t, err := api.NewPodTemplate(p)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(t.Encoded)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.byHash[hash].Value(); known != nil {
		return known, nil
	}
	if c.byHash == nil {
		c.byHash, c.latest = map[[32]byte]weak.Pointer[api.PodTemplate]{}, map[types.UID]weak.Pointer[api.PodTemplate]{}
	}
	c.byHash[hash] = weak.Make(t)
	k := cached{hash: hash}
	if w := metav1.GetControllerOfNoCopy(t.Pod); w != nil {
		if sibling := c.latest[w.UID].Value(); sibling != nil {
			shareParts(t.Pod, sibling.Pod)
		}
		k.controller = w.UID
		c.latest[w.UID] = weak.Make(t)
	}
	runtime.AddCleanup(t, c.forget, k)
	return t, nil
}

// cached are the keys of a template.
type cached struct {
	hash       [32]byte
	controller types.UID
}

func (c *templateCache) forget(k cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byHash[k.hash].Value() == nil {
		delete(c.byHash, k.hash)
	}
	if c.latest[k.controller].Value() == nil {
		delete(c.latest, k.controller)
	}
}

// shareParts lets a template use the parts of another that are its own as well. Pods of a StatefulSet differ in labels, host name and
// claims, and this is two thirds of what they take.
func shareParts(p, of *corev1.Pod) {
	share(&p.Annotations, of.Annotations)
	share(&p.OwnerReferences, of.OwnerReferences)
	share(&p.Spec.InitContainers, of.Spec.InitContainers)
	share(&p.Spec.Containers, of.Spec.Containers)
	share(&p.Spec.Tolerations, of.Spec.Tolerations)
	share(&p.Spec.Affinity, of.Spec.Affinity)
	share(&p.Spec.SecurityContext, of.Spec.SecurityContext)
	share(&p.Spec.NodeSelector, of.Spec.NodeSelector)
	share(&p.Spec.TopologySpreadConstraints, of.Spec.TopologySpreadConstraints)
	for i := range min(len(p.Spec.Volumes), len(of.Spec.Volumes)) {
		share(&p.Spec.Volumes[i], of.Spec.Volumes[i])
	}
}

// share only takes what is the same in every field: an empty list is not a missing one.
func share[T any](part *T, of T) {
	if reflect.DeepEqual(*part, of) {
		*part = of
	}
}
