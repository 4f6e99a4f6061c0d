package main

import (
	"context"
	"errors"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// tallies adds up what Deployments say of their pods. It hears of each change once: asking again and again for a thousand Deployments
// took the processors that were to be measured.
type tallies struct {
	mu   sync.Mutex
	of   map[string]tally // by the Deployment's name
	sums tally
}

type tally struct{ pods, ready int }

// followTallies watches the Deployments of namespace default until ctx ends.
func followTallies(ctx context.Context, c kubernetes.Interface) (*tallies, error) {
	t := &tallies{of: map[string]tally{}}
	f := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace("default"), informers.WithTransform(withoutSpec))
	i := f.Apps().V1().Deployments().Informer()
	_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    t.set,
		UpdateFunc: func(_, o any) { t.set(o) },
		DeleteFunc: t.drop,
	})
	if err != nil {
		return nil, err
	}
	f.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
		return nil, errors.New("the watch of Deployments did not begin")
	}
	return t, nil
}

// withoutSpec keeps of a Deployment what is counted.
func withoutSpec(o any) (any, error) {
	if d, ok := o.(*appsv1.Deployment); ok {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, ResourceVersion: d.ResourceVersion},
			Status: appsv1.DeploymentStatus{Replicas: d.Status.Replicas, ReadyReplicas: d.Status.ReadyReplicas}}, nil
	}
	return o, nil
}

func (t *tallies) set(o any) {
	d := o.(*appsv1.Deployment)
	t.change(d.Name, tally{int(d.Status.Replicas), int(d.Status.ReadyReplicas)})
}

func (t *tallies) drop(o any) {
	if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
		_, name, _ := cache.SplitMetaNamespaceKey(key)
		t.change(name, tally{})
	}
}

func (t *tallies) change(name string, now tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.of[name]
	t.sums.pods += now.pods - was.pods
	t.sums.ready += now.ready - was.ready
	t.of[name] = now
}

func (t *tallies) sum() tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sums
}
