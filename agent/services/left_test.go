package services

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var leaver = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u", Labels: map[string]string{"app": "web"}}}

// sliceOf has the pod u with conditions; nil has it not.
func sliceOf(c *discoveryv1.EndpointConditions) *discoveryv1.EndpointSlice {
	s := slice("web-1", 8080, "10.42.0.9")
	s.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", UID: "another"}
	if c != nil {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.42.0.2"}, Conditions: *c,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: leaver.UID}})
	}
	return s
}

func conditions(ready, serving, terminating bool) *discoveryv1.EndpointConditions {
	return &discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
}

func selecting(key, value string) *corev1.Service {
	return service(func(s *corev1.Service) { s.Spec.Selector = map[string]string{key: value} })
}

// Invariant 115.
func TestLeft(t *testing.T) {
	for _, c := range []struct {
		name    string
		service *corev1.Service
		slice   *discoveryv1.EndpointConditions
		want    uint64 // 0 is not to wait for anybody
		waits   bool   // for this node's own table
	}{
		{"ready", selecting("app", "web"), conditions(true, true, false), 0, true},
		{"unset is ready", selecting("app", "web"), &discoveryv1.EndpointConditions{}, 0, true},
		{"ready in a service without selector", service(nil), conditions(true, true, false), 0, true},
		{"never ready", selecting("app", "web"), conditions(false, false, false), 0, false},
		{"out since it ends", selecting("app", "web"), conditions(false, true, true), 7, false},
		{"ends and was not ready", selecting("app", "web"), conditions(false, false, true), 0, false},
		{"published while it ends", selecting("app", "web"), conditions(true, true, true), 7, false},
		{"in no slice", selecting("app", "web"), nil, 0, false},
		{"of another service", selecting("app", "db"), conditions(true, true, false), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newModel()
			m.PutService(c.service)
			m.PutSlice(sliceOf(c.slice))
			m.Reached(7)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // whoever would wait is told so
			got, err := m.Left(ctx, leaver)
			if waits := errors.Is(err, context.Canceled); waits != c.waits || got != c.want {
				t.Errorf("revision %d, %v; want %d, waits %v", got, err, c.want, c.waits)
			}
		})
	}
}

// A pod that leaves its service is waited for, however it leaves, and the revision is the one at which that was told.
// Invariant 115.
func TestLeftWaits(t *testing.T) {
	for name, leave := range map[string]func(m *Model){
		"terminating":     func(m *Model) { m.PutSlice(sliceOf(conditions(false, true, true))) },
		"removed":         func(m *Model) { m.PutSlice(sliceOf(nil)) },
		"slice deleted":   func(m *Model) { m.DeleteSlice("default", "web-1") },
		"service deleted": func(m *Model) { m.DeleteService("default", "web") },
		"a new watch": func(m *Model) {
			m.Begin()
			m.PutService(selecting("app", "web"))
			m.PutSlice(sliceOf(nil))
			m.Reached(3) // objects come in any order of their revisions
			m.Synced(9)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				m.PutService(selecting("app", "web"))
				m.PutSlice(sliceOf(conditions(true, true, false)))
				m.Reached(7)
				got := make(chan uint64, 1)
				go func() {
					revision, err := m.Left(t.Context(), leaver)
					if err != nil {
						t.Error(err)
					}
					got <- revision
				}()
				m.PutSlice(sliceOf(conditions(true, true, false)))
				m.Reached(8)
				synctest.Wait()
				select {
				case r := <-got:
					t.Fatalf("it has not left and the answer is %d", r)
				default:
				}
				leave(m)
				m.Reached(9)
				if r := <-got; r != 9 {
					t.Errorf("revision %d, want 9", r)
				}
				if g := m.Table().Generation; g != 9 {
					t.Errorf("the table is of %d, want 9", g)
				}
			})
		})
	}
}
