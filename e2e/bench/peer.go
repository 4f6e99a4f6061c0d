package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	peerStarts = 35
	peerCrowd  = 30
)

// peer has containerd, with runc, run the same pods on a node of a second lab: starts in turn with ours, then many at rest. All but
// the executor is the same.
func (b *podBench) peer(ctx context.Context) (err error) {
	if !containerd.Installed() {
		b.t.told("the same pods with containerd", "not measured: apt-get install containerd")
		return nil
	}
	d, err := startContainerd(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endContainerd(d)) }()
	if err := d.Load(ctx); err != nil {
		return err
	}
	l, err := rig.Up(ctx, *labName+"cri", "--servers", "1", "--clients", "1", "--client-arg=--runtime=cri", "--client-arg=--cri-socket="+d.Socket())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	theirs := podBench{marks: b.marks, t: b.t, image: containerd.Image, daemon: d}
	if theirs.c, err = l.Client("server1"); err != nil {
		return err
	}
	if theirs.node, err = l.Node("client1"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theirs.clear(ctx)) }() // what containerd runs must end before it does
	if err := b.startInTurn(ctx, &theirs); err != nil {
		return err
	}
	return b.restInTurn(ctx, &theirs)
}

func (b *podBench) startInTurn(ctx context.Context, theirs *podBench) error {
	var ours, peers []time.Duration
	for i := range peerStarts {
		took, err := b.startOne(ctx, fmt.Sprint("ours-", i))
		if err != nil {
			return err
		}
		their, err := theirs.startOne(ctx, fmt.Sprint("theirs-", i))
		if err != nil {
			return err
		}
		if i >= 5 { // the first ones warm up
			ours, peers = append(ours, took), append(peers, their)
		}
	}
	for _, q := range []float64{0.5, 0.99} {
		our, their := quantile(ours, q), quantile(peers, q)
		b.t.told(fmt.Sprintf("pod created to its first process, p%.0f: ours, containerd's, ratio", 100*q), fmt.Sprintf("%.1f ms, %.1f ms, %.3f", our, their, our/their))
	}
	return errors.Join(b.clear(ctx), theirs.clear(ctx))
}

// restInTurn weighs what a pod costs beyond its own processes: a shim and a pause there, a pause and shares of others here.
func (b *podBench) restInTurn(ctx context.Context, theirs *podBench) error {
	our, err := b.weigh(ctx, peerCrowd)
	if err != nil {
		return err
	}
	their, err := theirs.weigh(ctx, peerCrowd)
	if err != nil {
		return err
	}
	b.t.told("a pod beyond its processes, PSS: ours, containerd's, ratio", fmt.Sprintf("%.0f KB, %.0f KB, %.3f", our, their, our/their))
	return b.clear(ctx)
}
