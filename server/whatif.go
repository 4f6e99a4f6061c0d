package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// WhatIf is a question: what would become of the cluster's pods if these objects were as given, and those removed were not there.
type WhatIf struct {
	Objects []json.RawMessage // whole, as a dry run of their writing answered
	Remove  []ObjectRef
}

// ObjectRef names an object by its resource.
type ObjectRef struct{ Group, Resource, Namespace, Name string }

// Outlook is the answer. Settled is false if the controllers had still something to do when the time that is played had passed.
type Outlook struct {
	Start   []PodGroup // pods that would be made, and where they would run
	Waiting []PodGroup // that would be made and run nowhere, and why
	End     []PodGroup // pods that would be deleted
	Preempt []PodGroup // pods of others that would make room
	Settled bool
}

// PodGroup is a number of pods of one workload on one node. Reason is set for those that wait.
type PodGroup struct {
	Namespace, Workload, Node, Reason string
	Pods                              int
}

const (
	// outlookRoundsMax bounds the steps of the engine that are played.
	outlookRoundsMax = 400
	// outlookTimeMax bounds the time that is played, in the life of the cluster.
	outlookTimeMax = 10 * time.Minute
	// questionBytesMax bounds a question.
	questionBytesMax = 16 << 20
)

// serveWhatIf answers questions at the API.
func (s *Server) serveWhatIf(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST the objects to plan for", http.StatusMethodNotAllowed)
		return
	}
	var q WhatIf
	if err := json.NewDecoder(io.LimitReader(r.Body, questionBytesMax)).Decode(&q); err != nil {
		http.Error(w, "reading the question: "+err.Error(), http.StatusBadRequest)
		return
	}
	out, err := s.whatIf(r.Context(), &q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // whoever asked has gone if this fails
}

func (s *Server) whatIf(ctx context.Context, q *WhatIf) (*Outlook, error) {
	list, err := q.ops()
	if err != nil {
		return nil, err
	}
	if err := s.store.Barrier(ctx); err != nil {
		return nil, err
	}
	engine, err := s.newEngine(nil, new(breather).rest) // a plan ends nobody's lease
	if err != nil {
		return nil, err
	}
	p := newPlay(s.state.Fork(), engine, s.now())
	defer p.tail.Close()
	return p.run(ctx, list)
}

// ops are the writes that the question is about. Kinds that no controller reads in another form are left out.
func (q *WhatIf) ops() (list []ops.Op, err error) {
	for _, r := range q.Remove {
		list = append(list, &ops.Delete{Resource: schema.GroupResource{Group: r.Group, Resource: r.Resource}, Namespace: r.Namespace, Name: r.Name, Expect: ops.Any})
	}
	for _, raw := range q.Objects {
		o, gvk, err := api.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("reading an object: %w", err)
		}
		i := slices.IndexFunc(api.Kinds(), func(k *api.Kind) bool { return k.GroupVersionKind() == *gvk })
		if i < 0 {
			continue
		}
		list = append(list, &ops.Put{Resource: api.Kinds()[i].GroupResource(), Object: o, Expect: ops.Any})
	}
	return list, nil
}
