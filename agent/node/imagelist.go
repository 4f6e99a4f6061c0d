package node

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/image"
)

const (
	// imagesShown is how many images the Node object lists: Kubernetes' default (nodeStatusMaxImages).
	imagesShown = 50
	// namesShown is how many names of one image it lists, as in Kubernetes.
	namesShown = 5
	// imagesSettle is how long the list waits for more changes before it is sent.
	imagesSettle = time.Second
)

// imageList is what the Node object says of the images: the largest first.
func imageList(all []*image.Image) []corev1.ContainerImage {
	out := make([]corev1.ContainerImage, 0, len(all))
	for _, i := range all {
		names := slices.Clone(i.Names)
		// Digests first, as from a kubelet.
		slices.SortStableFunc(names, func(a, b string) int {
			return cmp.Compare(strings.Count(b, "@"), strings.Count(a, "@"))
		})
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), namesShown)], SizeBytes: i.Size})
	}
	slices.SortStableFunc(out, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), slices.Compare(a.Names, b.Names))
	})
	return out[:min(len(out), imagesShown)]
}

// reportImages has the Node object follow the image store. The update says nothing of conditions, which others know.
func (n *node) reportImages(ctx context.Context) error {
	for {
		select {
		case <-n.pulls.Changes():
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(imagesSettle):
		case <-ctx.Done():
			return ctx.Err()
		}
		object := n.announced()
		object.Status.Conditions = nil
		if err := n.report(ctx, object); err != nil {
			return err
		}
	}
}
