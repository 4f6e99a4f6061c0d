package clienttest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// planner makes plans and carries them out as Terraform's provider does: it knows no kind, and the server says what an object would become.
type planner struct {
	client    dynamic.Interface
	mapper    meta.RESTMapper
	namespace string
}

// verdict of a plan on one object.
const (
	create  = "create"
	change  = "change"
	nothing = "nothing"
)

func newPlanner(t *testing.T, l *kit.Lab, namespace string) *planner {
	t.Helper()
	client, err := dynamic.NewForConfig(l.Config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	known, err := discovery.NewDiscoveryClientForConfig(l.Config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	return &planner{client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(known)), namespace}
}

// of is the resource of a kind in the planner's namespace.
func (p *planner) of(t *testing.T, o *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	gvk := o.GroupVersionKind()
	m, err := p.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		t.Fatal(err)
	}
	return p.client.Resource(m.Resource).Namespace(p.namespace)
}

// plan asks what applying an object would do, and does nothing.
func (p *planner) plan(t *testing.T, o *unstructured.Unstructured, force bool) (string, error) {
	t.Helper()
	live, err := p.of(t, o).Get(t.Context(), o.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	exists := err == nil
	would, err := p.of(t, o).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "planner", Force: force, DryRun: []string{metav1.DryRunAll}})
	switch {
	case err != nil:
		return "", err
	case !exists:
		return create, nil
	case equality.Semantic.DeepEqual(content(live), content(would)):
		return nothing, nil
	}
	return change, nil
}

// content is an object without its status and what the server keeps the books with. Who owns what counts: a plan that would take a field over is
// a change.
func content(o *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	o.SetResourceVersion("")
	o.SetGeneration(0)
	unstructured.RemoveNestedField(o.Object, "status")
	fields := slices.DeleteFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return f.Subresource != "" })
	for i := range fields {
		fields[i].Time = nil
	}
	o.SetManagedFields(fields)
	return o.Object
}

func (p *planner) apply(t *testing.T, o *unstructured.Unstructured, force bool) *unstructured.Unstructured {
	t.Helper()
	done, err := p.of(t, o).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "planner", Force: force})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func (p *planner) want(t *testing.T, verdict string, objects ...*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if got, err := p.plan(t, o, false); err != nil || got != verdict {
			t.Errorf("the plan for %s %s is %q (%v), want %q", o.GetKind(), o.GetName(), got, err, verdict)
		}
	}
}

func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, one := range strings.Split(text, "---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(one), &o.Object); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

const desired = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {plan: one}}
data: {color: blue, size: large}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: peapod/demo
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 0.01, memory: 16777216}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tidy}
spec:
  schedule: 0 3 * * *
  suspend: true
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: tidy, image: peapod/demo}]}}}}
`

// TestPlanAndApply: a plan writes nothing, what was applied is not planned again, and drift is seen, told whose it is, and taken back.
func TestPlanAndApply(t *testing.T) {
	t.Parallel()
	l, k := space(t)
	p := newPlanner(t, l, k.Namespace)
	objects := parse(t, desired)
	p.want(t, create, objects...)
	k.Want(t, "", "get", "configmap/settings", "deployment/web", "service/web", "role/reader", "cronjob/tidy", "--ignore-not-found", "-o", "name")
	for _, o := range objects {
		version := p.apply(t, o, false).GetResourceVersion()
		if o.GetKind() == "ConfigMap" && p.apply(t, o, false).GetResourceVersion() != version {
			t.Error("what is applied twice is written twice")
		}
	}
	rolledOut(t, k, "web")
	p.want(t, nothing, objects...)
	p.drift(t, k, objects[1])
	p.shared(t, k, objects[0])
	p.destroy(t, objects)
}

// drift: somebody scales what the plan owns.
func (p *planner) drift(t *testing.T, k kit.Kubectl, deployment *unstructured.Unstructured) {
	t.Helper()
	k.Must(t, "patch", "deployment", "web", "--field-manager=somebody", "--patch", `{"spec":{"replicas":2}}`)
	_, err := p.plan(t, deployment, false)
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) {
		t.Fatalf("the drift is no conflict: %v", err)
	}
	causes := status.Status().Details.Causes
	if len(causes) != 1 || causes[0].Type != metav1.CauseTypeFieldManagerConflict || causes[0].Field != ".spec.replicas" || !strings.Contains(causes[0].Message, `conflict with "somebody"`) {
		t.Errorf("the conflict's causes are %+v", causes)
	}
	if got, err := p.plan(t, deployment, true); err != nil || got != change {
		t.Errorf("by force the plan is %q (%v)", got, err)
	}
	k.Want(t, "2", "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")
	p.apply(t, deployment, true)
	rolledOut(t, k, "web")
	p.want(t, nothing, deployment)
	k.Want(t, "1", "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")
}

// shared: what others have added stays when the plan's own goes.
func (p *planner) shared(t *testing.T, k kit.Kubectl, settings *unstructured.Unstructured) {
	t.Helper()
	k.Must(t, "patch", "configmap", "settings", "--field-manager=somebody", "--patch", `{"data":{"theirs":"stays"}}`)
	p.want(t, nothing, settings)
	unstructured.RemoveNestedField(settings.Object, "data", "size")
	p.want(t, change, settings)
	p.apply(t, settings, false)
	k.Want(t, `{"color":"blue","theirs":"stays"}`, "get", "configmap", "settings", "-o", "jsonpath={.data}")
}

// destroy ends what was applied, and waits as Terraform does until it is gone.
func (p *planner) destroy(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	foreground := metav1.DeletePropagationForeground
	for _, o := range objects {
		if err := p.of(t, o).Delete(t.Context(), o.GetName(), metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
			t.Errorf("deleting %s: %v", o.GetName(), err)
		}
	}
	for _, o := range objects {
		kit.Eventually(t, limit, o.GetName()+" is gone", func() error {
			_, err := p.of(t, o).Get(context.Background(), o.GetName(), metav1.GetOptions{})
			if err == nil {
				return errors.New("it is not")
			}
			return ignoreRepeat(err)
		})
	}
	p.want(t, create, objects...)
}
