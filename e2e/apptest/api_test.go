package apptest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// idlePod is a template of pods that no test here waits for.
const idlePod = "template: {metadata: {labels: {app: x}}, spec: {nodeSelector: {none: such}, containers: [{name: c, image: peapod/demo}]}}"

// idle are objects of the workload kinds, none of which has pods that run. NAME is theirs.
var idle = []struct {
	ids      string
	resource schema.GroupVersionResource
	object   string
	status   bool // it has conditions in a status of its own
}{
	{"AP001", apps("controllerrevisions"), "{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: NAME}, revision: 1, data: {spec: {a: b}}}", false},
	{"AP006", batch("cronjobs"), "{apiVersion: batch/v1, kind: CronJob, metadata: {name: NAME}, spec: {suspend: true, schedule: '* * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: peapod/demo}]}}}}}}", false},
	{"AP007 AP013", apps("daemonsets"), "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: NAME}, spec: {selector: {matchLabels: {app: x}}, " + idlePod + "}}", true},
	{"AP020 AP021", apps("deployments"), "{apiVersion: apps/v1, kind: Deployment, metadata: {name: NAME}, spec: {replicas: 0, selector: {matchLabels: {app: x}}, " + idlePod + "}}", true},
	{"AP022 AP024 AP026", schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: NAME}, spec: {minAvailable: 1, selector: {matchLabels: {app: none}}}}", true},
	{"AP030 AP034", batch("jobs"), "{apiVersion: batch/v1, kind: Job, metadata: {name: NAME}, spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: peapod/demo}]}}}}", true},
	{"AP044 AP046", apps("replicasets"), "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: NAME}, spec: {replicas: 0, selector: {matchLabels: {app: x}}, " + idlePod + "}}", true},
	{"AP052", core("replicationcontrollers"), "{apiVersion: v1, kind: ReplicationController, metadata: {name: NAME}, spec: {replicas: 0, selector: {app: x}, " + idlePod + "}}", true},
	{"AP057 AP060", apps("statefulsets"), "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: NAME}, spec: {serviceName: x, replicas: 0, selector: {matchLabels: {app: x}}, " + idlePod + "}}", true},
	{"SC002", core("limitranges"), "{apiVersion: v1, kind: LimitRange, metadata: {name: NAME}, spec: {limits: [{type: Container, max: {cpu: '2'}}]}}", false},
}

func apps(r string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: r}
}

func batch(r string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: r}
}

func core(r string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: r}
}

func client(t *testing.T, l *kit.Lab) *dynamic.DynamicClient {
	t.Helper()
	c, err := dynamic.NewForConfig(l.Config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, in dynamic.ResourceInterface, object, name string, labels map[string]string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(object, "NAME", name)), &o.Object); err != nil {
		t.Fatal(err)
	}
	o.SetLabels(labels)
	made, err := in.Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// replace changes the newest version of an object until nobody was faster; subresources is where.
func replace(t *testing.T, in dynamic.ResourceInterface, name string, change func(o *unstructured.Unstructured), subresources ...string) *unstructured.Unstructured {
	t.Helper()
	var made *unstructured.Unstructured
	kit.Eventually(t, limit, "writing "+name, func() error {
		o, err := in.Get(t.Context(), name, metav1.GetOptions{}, subresources...)
		if err != nil {
			return err
		}
		change(o)
		made, err = in.Update(t.Context(), o, metav1.UpdateOptions{}, subresources...)
		return err
	})
	return made
}

func merge(t *testing.T, in dynamic.ResourceInterface, name, patch string, subresources ...string) *unstructured.Unstructured {
	t.Helper()
	o, err := in.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestCollections: what clients do with objects of every workload kind: they are made, listed over all namespaces, watched, patched,
// replaced, and deleted one by one and by their label.
func TestCollections(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	c := client(t, l)
	for _, kind := range idle {
		t.Run(kind.resource.Resource+" "+kind.ids, func(t *testing.T) {
			in, label := c.Resource(kind.resource).Namespace(k.Namespace), metav1.ListOptions{LabelSelector: "of=" + k.Namespace}
			begin, err := in.List(t.Context(), label)
			if err != nil {
				t.Fatal(err)
			}
			events, err := in.Watch(t.Context(), metav1.ListOptions{LabelSelector: label.LabelSelector, ResourceVersion: begin.GetResourceVersion()})
			if err != nil {
				t.Fatal(err)
			}
			defer events.Stop()
			for _, name := range []string{"one", "two", "three"} {
				create(t, in, kind.object, name, map[string]string{"of": k.Namespace, "name": name})
			}
			everywhere, err := c.Resource(kind.resource).List(t.Context(), label)
			if err != nil || len(everywhere.Items) != 3 {
				t.Fatalf("%d objects in all namespaces, %v", len(everywhere.Items), err)
			}
			if o := merge(t, in, "one", `{"metadata":{"labels":{"patched":"yes"}}}`); o.GetLabels()["patched"] != "yes" {
				t.Errorf("patched: %v", o.GetLabels())
			}
			replace(t, in, "two", func(o *unstructured.Unstructured) {
				o.SetAnnotations(map[string]string{"replaced": "yes"})
				if o.GetKind() == "ControllerRevision" {
					_ = unstructured.SetNestedField(o.Object, int64(7), "revision")
				}
			})
			if err := in.Delete(t.Context(), "three", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			await(t, events, "ADDED one", "ADDED two", "ADDED three", "MODIFIED one patched", "MODIFIED two replaced", "DELETED three")
			if err := in.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "of=" + k.Namespace + ",patched=yes"}); err != nil {
				t.Fatal(err)
			}
			await(t, events, "DELETED one patched")
			kit.Eventually(t, limit, "one is left", func() error {
				list, err := in.List(t.Context(), label)
				if err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "two" {
					return fmt.Errorf("%d are left, %v", len(list.Items), err)
				}
				if o := list.Items[0].Object; list.Items[0].GetKind() == "ControllerRevision" && o["revision"] != int64(7) {
					return fmt.Errorf("its revision is %v", o["revision"])
				}
				return nil
			})
			if err := in.Delete(t.Context(), "two", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// await reads events until all that are wanted have come, in any order between objects.
func await(t *testing.T, w watch.Interface, want ...string) {
	t.Helper()
	timeout := time.After(limit)
	for len(want) > 0 {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				t.Fatalf("the watch ended; still awaited: %q", want)
			}
			o := e.Object.(*unstructured.Unstructured)
			said := fmt.Sprint(e.Type, " ", o.GetName())
			if o.GetLabels()["patched"] != "" {
				said += " patched"
			}
			if o.GetAnnotations()["replaced"] != "" {
				said += " replaced"
			}
			want = slices.DeleteFunc(want, func(s string) bool { return s == said })
		case <-timeout:
			t.Fatalf("still awaited: %q", want)
		}
	}
}

// TestStatuses: clients read, replace and patch the status of every workload kind, and nothing but it.
func TestStatuses(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	c := client(t, l)
	for _, kind := range idle {
		if !kind.status {
			continue
		}
		t.Run(kind.resource.Resource+" "+kind.ids, func(t *testing.T) {
			in := c.Resource(kind.resource).Namespace(k.Namespace)
			create(t, in, kind.object, "one", nil)
			now := metav1.Now().UTC().Format(time.RFC3339)
			condition := func(name string) map[string]any {
				return map[string]any{"type": name, "status": "True", "reason": "Test", "message": "set by a test", "lastTransitionTime": now}
			}
			var spec any
			o := replace(t, in, "one", func(o *unstructured.Unstructured) {
				spec = o.Object["spec"]
				o.Object["spec"] = map[string]any{}
				had, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
				_ = unstructured.SetNestedSlice(o.Object, append(had, condition("StatusUpdate")), "status", "conditions")
			}, "status")
			if !reflect.DeepEqual(o.Object["spec"], spec) || !slices.Contains(conditions(o), "StatusUpdate") {
				t.Errorf("after an update: spec %v, not %v; conditions %v", o.Object["spec"], spec, conditions(o))
			}
			o = merge(t, in, "one", fmt.Sprintf(`{"metadata":{"annotations":{"patched":"status"}},"status":{"conditions":[{"type":"StatusPatched","status":"True","reason":"Test","message":"","lastTransitionTime":%q}]}}`, now), "status")
			if o.GetAnnotations()["patched"] != "status" {
				t.Errorf("after a patch: annotations %v", o.GetAnnotations())
			}
			if got := conditions(o); !slices.Equal(got, []string{"StatusPatched"}) {
				t.Errorf("after a patch: conditions %v", got)
			}
			if read, err := in.Get(t.Context(), "one", metav1.GetOptions{}, "status"); err != nil || read.GetUID() != o.GetUID() {
				t.Errorf("reading the status: %v", err)
			}
		})
	}
}

func conditions(o *unstructured.Unstructured) (out []string) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		name, _, _ := unstructured.NestedString(c.(map[string]any), "type")
		out = append(out, name)
	}
	return out
}

// TestScales: AP014, AP041, AP042, AP048 and AP056: the subresource shows the number of pods and the selector, and changes the number only.
func TestScales(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	c := client(t, l)
	const pods = "template: {metadata: {labels: {app: NAME}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: peapod/demo}]}}"
	for _, kind := range []struct {
		resource schema.GroupVersionResource
		object   string
	}{
		{apps("deployments"), "{apiVersion: apps/v1, kind: Deployment, metadata: {name: NAME}, spec: {replicas: 1, selector: {matchLabels: {app: NAME}}, " + pods + "}}"},
		{apps("replicasets"), "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: NAME}, spec: {replicas: 1, selector: {matchLabels: {app: NAME}}, " + pods + "}}"},
		{apps("statefulsets"), "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: NAME}, spec: {serviceName: x, replicas: 1, selector: {matchLabels: {app: NAME}}, " + pods + "}}"},
		{core("replicationcontrollers"), "{apiVersion: v1, kind: ReplicationController, metadata: {name: NAME}, spec: {replicas: 1, selector: {app: NAME}, " + pods + "}}"},
	} {
		t.Run(kind.resource.Resource, func(t *testing.T) {
			in, name := c.Resource(kind.resource).Namespace(k.Namespace), kind.resource.Resource
			create(t, in, kind.object, name, nil)
			scaled := func(o *unstructured.Unstructured, want int64) {
				t.Helper()
				if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); n != want || o.GetKind() != "Scale" {
					t.Errorf("%s of %d, want %d", o.GetKind(), n, want)
				}
			}
			reach := func(want int64) {
				t.Helper()
				kit.Eventually(t, limit, fmt.Sprint(want, " pods"), func() error {
					o, err := in.Get(context.Background(), name, metav1.GetOptions{}, "scale")
					if err != nil {
						return err
					}
					n, _, _ := unstructured.NestedInt64(o.Object, "status", "replicas")
					if selector, _, _ := unstructured.NestedString(o.Object, "status", "selector"); n != want || selector != "app="+name {
						return fmt.Errorf("%d of %q", n, selector)
					}
					return nil
				})
			}
			reach(1)
			scaled(replace(t, in, name, func(o *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(o.Object, int64(3), "spec", "replicas")
			}, "scale"), 3)
			reach(3)
			l.ReadyPods(t, k.Namespace, "app="+name, 3, limit)
			scaled(merge(t, in, name, `{"spec":{"replicas":1}}`, "scale"), 1)
			reach(1)
			merge(t, in, name, `{"spec":{"replicas":2}}`)
			reach(2)
		})
	}
}
