package kube_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
)

// A plain watch says what apiserver's handler says, byte for byte: a parameter that neither heeds keeps a request from the plain way.
func TestPlainWatchesAreApiservers(t *testing.T) {
	f := newFuzzed(t)
	f.reset(t)
	s := httptest.NewServer(f.handler)
	defer s.Close()
	all, cm := "/api/v1/configmaps?watch=1&timeoutSeconds=9", "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=9"
	targets := []string{all, cm, cm + "&resourceVersion=0", cm + "&resourceVersion=6&allowWatchBookmarks=true", cm + "&labelSelector=l%3Dx",
		all + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", cm + "&resourceVersion=x", cm + "&resourceVersion=1",
		cm + "&resourceVersion=99999", cm + "&sendInitialEvents=true", "/api/v1/nodes?watch=1&timeoutSeconds=9", "/api/v1/namespaces/default/nodes?watch=1"}
	var g errgroup.Group
	type answer struct {
		code  int
		media string
		body  []byte
	}
	ask := func(to *answer, target, accept string) {
		q, err := http.NewRequest(http.MethodGet, s.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Accept", accept)
		q.Header.Set("Accept-Encoding", "identity")
		r, err := s.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		to.code, to.media = r.StatusCode, r.Header.Get("Content-Type")
		g.Go(func() (err error) {
			defer r.Body.Close()
			to.body, err = io.ReadAll(r.Body)
			return err
		})
	}
	accepts := []string{asJSON, asProto, asProto + ";stream=watch," + asJSON, asJSON + ", */*"}
	answers := make([][2]answer, len(targets)*len(accepts))
	for i := range answers {
		target, accept := targets[i/len(accepts)], accepts[i%len(accepts)]
		if strings.Contains(target, "=99999") && i%len(accepts) > 0 {
			continue // once is enough to wait for a revision that does not come
		}
		ask(&answers[i][0], target, accept)
		ask(&answers[i][1], target+"&pretty=false", accept)
	}
	f.change(t)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if a[0].code != a[1].code || a[0].media != a[1].media || !bytes.Equal(a[0].body, a[1].body) {
			t.Errorf("%s as %s:\n%d %s %q\nby apiserver:\n%d %s %q", targets[i/len(accepts)], accepts[i%len(accepts)],
				a[0].code, a[0].media, a[0].body, a[1].code, a[1].media, a[1].body)
		}
		if a[0].code == http.StatusOK && i/len(accepts) < 6 && len(a[0].body) == 0 {
			t.Errorf("%s has no events", targets[i/len(accepts)])
		}
	}
}

// change adds, changes, relabels and deletes objects.
func (f *fuzzed) change(t *testing.T) {
	t.Helper()
	maps := schema.GroupResource{Resource: "configmaps"}
	put := func(name, label string, data map[string]string) {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1-1", Labels: map[string]string{"l": label}}, Data: data}
		if _, err := f.store.Propose(context.Background(), &ops.Put{Resource: maps, Object: o}); err != nil {
			t.Fatal(err)
		}
	}
	put("b", "x", nil)
	put("b", "x", map[string]string{"k": "<v>"})
	put("b", "y", nil)
	put("c", "x", map[string]string{"big": string(bytes.Repeat([]byte("0123456789"), 5000))})
	put("d", "x", map[string]string{"big": string(bytes.Repeat([]byte("0123456789"), 5000))})
	if _, err := f.store.Propose(context.Background(), &ops.Delete{Resource: maps, Namespace: "default", Name: "c"}); err != nil {
		t.Fatal(err)
	}
}
