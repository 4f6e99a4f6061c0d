package fsm

import (
	"crypto/sha256"
	"runtime"
	"sync"
	"weak"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
)

// templateCache lets pods of equal templates share one, also across plans and after a restart.
// It only saves memory: whether it hits changes nothing that can be seen, so weak pointers do no
// harm to determinism.
type templateCache struct {
	mu     sync.Mutex
	byHash map[[32]byte]weak.Pointer[api.PodTemplate]
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
		c.byHash = map[[32]byte]weak.Pointer[api.PodTemplate]{}
	}
	c.byHash[hash] = weak.Make(t)
	runtime.AddCleanup(t, c.forget, hash)
	return t, nil
}

func (c *templateCache) forget(hash [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byHash[hash].Value() == nil {
		delete(c.byHash, hash)
	}
}
