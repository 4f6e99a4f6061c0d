package kube_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

// interrupted is a store whose answers about writes to one resource are lost: before anything is written, or once after.
type interrupted struct {
	*kubetest.Store
	resource string

	mu            sync.Mutex
	before, after error
	meddler       func(ops.Op) // called after a write whose answer is lost
	asked         int          // since the errors were set
}

func startInterrupted(t *testing.T, resource string) (*harness, *interrupted) {
	s := &interrupted{resource: resource}
	return start(t, func(c *kube.Config) {
		s.Store = c.Store.(*kubetest.Store)
		c.Store = s
	}), s
}

func (s *interrupted) fail(before, after error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after, s.meddler, s.asked = before, after, nil, 0
}

func (s *interrupted) meddle(after error, f func(ops.Op)) {
	s.fail(nil, after)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddler = f
}

func (s *interrupted) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *interrupted) Propose(ctx context.Context, list ...ops.Op) ([]ops.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.concerns(list[0]) {
		return s.Store.Propose(ctx, list...)
	}
	s.asked++
	if s.before != nil {
		return nil, s.before
	}
	results, err := s.Store.Propose(ctx, list...)
	if s.meddler != nil {
		s.meddler(list[0])
		s.meddler = nil
	}
	err, s.after = errors.Join(err, s.after), nil
	return results, err
}

func (s *interrupted) concerns(op ops.Op) bool {
	switch op := op.(type) {
	case *ops.Put:
		return op.Resource.Resource == s.resource
	case *ops.Delete:
		return op.Resource.Resource == s.resource
	}
	return false
}

var errLost = errors.New("the leader was lost")

// Clients try again by themselves what was not made, and nothing that may have been. Invariant 228.
func TestUnconfirmedWritesAreNotTriedAgain(t *testing.T) {
	h, store := startInterrupted(t, "configmaps")
	ctx, maps := context.Background(), h.client.CoreV1().ConfigMaps("default")
	old, err := maps.Create(ctx, configMap("old"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old.Data["a"] = "2"
	for _, c := range []struct {
		name  string
		asked int // by the server, which may ask again for what names a revision
		write func() error
	}{
		{"create", 1, func() error { _, err := maps.Create(ctx, configMap("new"), metav1.CreateOptions{}); return err }},
		{"update", 2, func() error { _, err := maps.Update(ctx, old, metav1.UpdateOptions{}); return err }},
		{"delete", 2, func() error { return maps.Delete(ctx, "old", metav1.DeleteOptions{}) }},
	} {
		store.fail(errLost, nil)
		if err := c.write(); !apierrors.IsTimeout(err) || store.times() != c.asked {
			t.Errorf("%s was asked for %d times: %v", c.name, store.times(), err)
		}
	}
	store.fail(kube.ErrNotWritten, nil)
	code := 0
	post := h.client.CoreV1().RESTClient().Post().Namespace("default").Resource("configmaps").Body(configMap("new"))
	if err := post.MaxRetries(1).Do(ctx).StatusCode(&code).Error(); err == nil || code != http.StatusInternalServerError || store.times() != 2 {
		t.Errorf("what was not made was asked for %d times: %d, %v", store.times(), code, err)
	}
}

// A change that was made is known to have been, and is made once; one that somebody else has changed since is not taken for made. Invariant 228.
func TestUnconfirmedChangesAreMadeOnce(t *testing.T) {
	h, store := startInterrupted(t, "configmaps")
	ctx, maps := context.Background(), h.client.CoreV1().ConfigMaps("default")
	m, err := maps.Create(ctx, configMap("one"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.Data["a"] = "2"
	store.fail(nil, errLost)
	changed, err := maps.Update(ctx, m, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := maps.Get(ctx, "one", metav1.GetOptions{}); err != nil || jsonOf(t, changed) != jsonOf(t, got) || got.Data["a"] != "2" {
		t.Errorf("changed\n%s\nread\n%s, %v", jsonOf(t, changed), jsonOf(t, got), err)
	}
	store.meddle(errLost, func(op ops.Op) {
		other := op.(*ops.Put).Object.DeepCopyObject().(*corev1.ConfigMap)
		other.Data["a"] = "somebody's"
		if _, err := store.Store.Propose(ctx, &ops.Put{Resource: op.(*ops.Put).Resource, Object: other, Expect: ops.Any}); err != nil {
			t.Error(err)
		}
	})
	changed.Data["a"] = "3"
	if _, err := maps.Update(ctx, changed, metav1.UpdateOptions{}); !apierrors.IsTimeout(err) {
		t.Errorf("somebody's change was taken for one's own: %v", err)
	}
	store.fail(nil, errLost)
	if err := maps.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// An object that was made is known to have been, though its writer has not heard so. Invariant 228.
func TestUnconfirmedCreationsAreLookedFor(t *testing.T) {
	h, store := startInterrupted(t, "configmaps")
	ctx, maps := context.Background(), h.client.CoreV1().ConfigMaps("default")
	store.fail(nil, errLost)
	made, err := maps.Create(ctx, configMap("new"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := maps.Get(ctx, "new", metav1.GetOptions{}); err != nil || jsonOf(t, made) != jsonOf(t, got) {
		t.Errorf("created\n%s\nread\n%s, %v", jsonOf(t, made), jsonOf(t, got), err)
	}
	store.fail(nil, errLost)
	if _, err := maps.Create(ctx, configMap("new"), metav1.CreateOptions{}); !apierrors.IsTimeout(err) {
		t.Errorf("another one of that name: %v", err)
	}
}

// The same of custom resources, which are stored in another form. Invariant 228.
func TestUnconfirmedCustomCreationsAreLookedFor(t *testing.T) {
	h, store := startInterrupted(t, "widgets")
	h.define(definition(t, widgets))
	ctx, widgets := context.Background(), h.widgets()
	store.fail(nil, errLost)
	made, err := widgets.Create(ctx, widget("new", map[string]any{"color": "blue"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := widgets.Get(ctx, "new", metav1.GetOptions{}); err != nil || jsonOf(t, made) != jsonOf(t, got) {
		t.Errorf("created\n%s\nread\n%s, %v", jsonOf(t, made), jsonOf(t, got), err)
	}
}
