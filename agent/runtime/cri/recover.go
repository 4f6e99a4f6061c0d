package cri

import (
	"context"
	"encoding/json"
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// recover takes up what the runtime holds of ours.
func (e *Executor) recover(ctx context.Context) error {
	if err := e.recoverPods(ctx); err != nil {
		return err
	}
	r, err := e.runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{LabelSelector: e.ours()}})
	if err != nil {
		return err
	}
	for _, c := range r.Containers {
		e.recoverContainer(ctx, c)
	}
	return e.recoverEnds()
}

func (e *Executor) recoverPods(ctx context.Context) error {
	r, err := e.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{LabelSelector: e.ours()}})
	if err != nil {
		return err
	}
	for _, s := range r.Items {
		var spec runtime.SandboxSpec
		if err := json.Unmarshal([]byte(s.Annotations[annotationSpec]), &spec); err != nil {
			return fmt.Errorf("reading what sandbox %s was made of: %w", s.Id, err)
		}
		e.podFor(spec.PodUID).set(s.Id, spec)
	}
	return nil
}

func (e *Executor) recoverContainer(ctx context.Context, found *cri.Container) {
	if found.State == cri.ContainerState_CONTAINER_CREATED {
		return // an earlier agent did not come to start it, or its call goes on still: whoever starts it anew finds it
	}
	c := newContainer(found.Labels[labelID], found.Labels[labelUID], found.Labels[labelContainer], int(found.Metadata.GetAttempt()))
	e.mu.Lock()
	e.containers[c.id] = c
	e.mu.Unlock()
	if end, ok := e.loadEnd(c.id); ok {
		c.cri, c.state = found.Id, end.Container
		c.endedOnce.Do(func() { close(c.ended) })
		if !end.Delivered {
			e.deliver(end.Container, c)
		}
		return
	}
	e.takeUp(ctx, c, found.Id)
}

// recoverEnds delivers the ends of containers that the runtime was told to forget before the agent heard of them, and
// drops the records of the others.
func (e *Executor) recoverEnds() error {
	ids, err := e.recordedEnds()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := e.find(id); err == nil {
			continue
		}
		if end, ok := e.loadEnd(id); ok && !end.Delivered {
			e.deliver(end.Container, nil)
			continue
		}
		if err := e.removeEnd(id); err != nil {
			return err
		}
	}
	return nil
}
