package kube_test

import (
	"context"
	"crypto/x509/pkix"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
)

// recordStore takes pods from the state proper, which holds them as records, if it is not told to hide them.
type recordStore struct {
	*kubetest.Store
	state *fsm.FSM
	hide  *bool
}

func (s recordStore) Revision() uint64 { return max(s.Store.Revision(), s.state.Revision()) }

func (s recordStore) Snapshot(gr schema.GroupResource) kube.Snapshot {
	switch {
	case gr != fsm.Pods:
		return s.Store.Snapshot(gr)
	case *s.hide:
		return struct{ kube.Snapshot }{s.state.Table(gr)}
	}
	return s.state.Table(gr)
}

// podsOfAllStates fills a state with pods of two controllers, some with a status, one deleting, and with one of its own.
func podsOfAllStates(t *testing.T) *fsm.FSM {
	t.Helper()
	state := fsm.New()
	index := uint64(0)
	apply := func(op ops.Op) {
		index++
		for _, row := range state.ApplyOps(index, []ops.Op{op})[0].Rows {
			if row != ops.Applied {
				t.Fatalf("%T: %v", op, row)
			}
		}
	}
	for _, app := range []string{"api", "web"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: app + "-", Namespace: "default", Generation: 1, Labels: map[string]string{"app": app}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "<" + app + ">"}}}}
		apply(&ops.PlanPods{Template: pod, Created: 1_700_000_000, Rows: []ops.PlanRow{
			{Suffix: "a", UID: types.UID(app + "-1"), Node: "n1"}, {Suffix: "b", UID: types.UID(app + "-2"), Node: "n2"}, {Suffix: "c", UID: types.UID(app + "-3")}}})
	}
	status := corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.42.0.9", Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_009, 0))}}}
	encoded, err := status.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	apply(&ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: "web-a", Status: encoded}, {Namespace: "default", Name: "api-b", Status: encoded}}})
	apply(&ops.DeletePods{Now: 1_700_000_010, Rows: []ops.DeleteRow{{Namespace: "default", Name: "web-a", Grace: 30}}})
	apply(&ops.Put{Resource: fsm.Pods, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "own", Namespace: "other", UID: "own"}}})
	return state
}

// Whatever a client asks for, the answer made of records is the one made of typed pods, byte for byte.
func TestListsOfRecordsAreListsOfPods(t *testing.T) {
	hide := false
	state := podsOfAllStates(t)
	h := start(t, func(c *kube.Config) { c.Store = recordStore{c.Store.(*kubetest.Store), state, &hide} })
	for state.Revision() < h.store.Revision() {
		state.ApplyOps(state.Index()+1, []ops.Op{&ops.PutMeta{Key: "k", Value: []byte("v")}})
	}
	client, err := rest.HTTPClientFor(h.user(pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, accept, agent string) string {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+h.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		r.Header.Set("User-Agent", agent)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s %v\n%s", path, accept, answer.Status, err, b)
		}
		return string(b)
	}
	for _, path := range []string{"/api/v1/pods", "/api/v1/pods?pretty=true", "/api/v1/namespaces/default/pods", "/api/v1/namespaces/none/pods", "/api/v1/pods?limit=2",
		"/api/v1/pods?labelSelector=app%3Dweb", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "/api/v1/pods?fieldSelector=metadata.name%3Dapi-b", "/api/v1/pods?resourceVersion=0"} {
		for _, accept := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf, runtime.ContentTypeYAML,
			"application/json;as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
			for _, agent := range []string{"test", "curl/8"} {
				hide = true
				want := ask(path, accept, agent)
				hide = false
				if got := ask(path, accept, agent); got != want {
					t.Errorf("%s as %s for %s:\n%q\nthe typed list is\n%q", path, accept, agent, got, want)
				}
			}
		}
	}
	if got := ask("/api/v1/pods", runtime.ContentTypeJSON, "test"); strings.Count(got, `"uid":`) != 7 {
		t.Errorf("not every pod is in the list: %s", got)
	}
}
