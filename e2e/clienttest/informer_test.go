package clienttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
	"github.com/peapod-sh/peapod/e2e/kit"
)

// observer keeps what a shared informer has told of ConfigMaps.
type observer struct {
	mu       sync.Mutex
	versions map[string]uint64 // of what exists, by name
	resyncs  int
	faults   []string
}

// see takes one notification in: a version may never go back, nor something be told twice except by a resync.
func (o *observer) see(verb string, before, now *corev1.ConfigMap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	version, err := strconv.ParseUint(now.ResourceVersion, 10, 64)
	known, exists := o.versions[now.Name]
	switch {
	case err != nil:
		o.faults = append(o.faults, err.Error())
	case verb == "update" && before.ResourceVersion == now.ResourceVersion && version == known:
		o.resyncs++
	case verb == "add" && exists, verb != "add" && !exists, version <= known:
		o.faults = append(o.faults, fmt.Sprintf("%s %s at %d, known at %d", verb, now.Name, version, known))
	case verb == "delete":
		delete(o.versions, now.Name)
		return
	}
	o.versions[now.Name] = version
}

func (o *observer) handlers() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(x any) { o.see("add", nil, x.(*corev1.ConfigMap)) },
		UpdateFunc: func(x, y any) { o.see("update", x.(*corev1.ConfigMap), y.(*corev1.ConfigMap)) },
		DeleteFunc: func(x any) {
			if gone, ok := x.(cache.DeletedFinalStateUnknown); ok {
				o.mu.Lock()
				delete(o.versions, gone.Obj.(*corev1.ConfigMap).Name)
				o.mu.Unlock()
				return
			}
			o.see("delete", nil, x.(*corev1.ConfigMap))
		},
	}
}

// agrees tells whether the observer knows exactly what a list says.
func (o *observer) agrees(list *corev1.ConfigMapList) error {
	want := map[string]uint64{}
	for _, c := range list.Items {
		want[c.Name], _ = strconv.ParseUint(c.ResourceVersion, 10, 64)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !maps.Equal(want, o.versions) {
		return fmt.Errorf("informed of %v, listed %v", o.versions, want)
	}
	return nil
}

// TestInformer: a shared informer misses nothing and hears nothing twice while the leader of the servers dies under it.
func TestInformer(t *testing.T) {
	l, k := space(t)
	leader, err := (&rig.Lab{Name: l.Name, Dir: l.Dir, Binary: kit.Peapod()}).Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := slices.DeleteFunc([]string{"server1", "server2", "server3"}, func(s string) bool { return s == leader })
	client := l.Client(t, asked[0])
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	o := &observer{versions: map[string]uint64{}}
	factory := informers.NewSharedInformerFactoryWithOptions(client, time.Second, informers.WithNamespace(k.Namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(o.handlers()); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	t.Cleanup(factory.Shutdown)
	t.Cleanup(cancel)
	factory.WaitForCacheSync(ctx.Done())
	churn(t, client, k.Namespace, 0)
	l.Do(t, "kill", leader)
	t.Cleanup(func() {
		l.Do(t, "restart", leader)
		kit.Eventually(t, limit, leader+" serves", func() error {
			_, err := l.Client(t, leader).CoreV1().Namespaces().Get(context.Background(), k.Namespace, metav1.GetOptions{})
			return err
		})
	})
	churn(t, client, k.Namespace, 100)
	kit.Eventually(t, limit, "the informer knows what a list says", func() error {
		list, err := client.CoreV1().ConfigMaps(k.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		return o.agrees(list)
	})
	kit.Eventually(t, limit, "a resync", func() error { return o.resynced() })
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.faults) > 0 {
		t.Errorf("told wrongly: %v", o.faults)
	}
}

func (o *observer) resynced() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.resyncs < len(o.versions) {
		return fmt.Errorf("%d of %d objects", o.resyncs, len(o.versions))
	}
	return nil
}

// churn makes, changes and deletes objects, each as soon as the servers let it.
func churn(t *testing.T, client kubernetes.Interface, namespace string, from int) {
	t.Helper()
	api := client.CoreV1().ConfigMaps(namespace)
	for i := from; i < from+30; i++ {
		name := fmt.Sprintf("c%03d", i)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"at": "first"}}
		kit.Eventually(t, limit, "making "+name, func() error {
			_, err := api.Create(context.Background(), object, metav1.CreateOptions{})
			return ignoreRepeat(err)
		})
		if i%2 == 0 {
			kit.Eventually(t, limit, "changing "+name, func() error {
				_, err := api.Patch(context.Background(), name, "application/merge-patch+json", []byte(`{"data":{"at":"second"}}`), metav1.PatchOptions{})
				return err
			})
		}
		if i%3 == 0 {
			kit.Eventually(t, limit, "deleting "+name, func() error {
				return ignoreRepeat(api.Delete(context.Background(), name, metav1.DeleteOptions{}))
			})
		}
	}
}

// ignoreRepeat forgives what a write answers that was done before, though its first answer was lost.
func ignoreRepeat(err error) error {
	if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// TestBookmarks: the stream of a watch says where it stands, after what there was at first and before its time is over.
func TestBookmarks(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	seconds, yes := int64(8), true
	api := l.Client(t, "").CoreV1().ConfigMaps(k.Namespace)
	w, err := api.Watch(context.Background(), metav1.ListOptions{
		AllowWatchBookmarks: true, SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, TimeoutSeconds: &seconds,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var marks []string
	for event := range w.ResultChan() {
		c, ok := event.Object.(*corev1.ConfigMap)
		switch {
		case !ok:
			t.Fatalf("the watch says %v", event.Object)
		case event.Type == watch.Bookmark:
			marks = append(marks, "mark"+c.Annotations[metav1.InitialEventsAnnotationKey])
			if len(marks) == 1 {
				if _, err := api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "later"}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		case c.Name == "later":
			marks = append(marks, c.Name)
		}
	}
	if len(marks) == 0 || marks[0] != "marktrue" || !slices.Contains(marks, "later") || !slices.Contains(marks, "mark") {
		t.Errorf("the watch told %v, want marktrue first, then later and mark", marks)
	}
}
