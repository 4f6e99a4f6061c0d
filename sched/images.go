package sched

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// imagesOf names the images of a pod as nodes name them, and counts the containers.
func imagesOf(spec *corev1.PodSpec) (names []string, containers int) {
	add := func(image string) {
		containers++
		if image != "" {
			names = append(names, tagged(image))
		}
	}
	for i := range spec.InitContainers {
		add(spec.InitContainers[i].Image)
	}
	for i := range spec.Containers {
		add(spec.Containers[i].Image)
	}
	return names, containers
}

// tagged adds the tag that a name without one means.
func tagged(image string) string {
	if strings.LastIndex(image, ":") <= strings.LastIndex(image, "/") && !strings.Contains(image, "@") {
		return image + ":latest"
	}
	return image
}

// setImages keeps which nodes have an image.
func (t *Table) setImages(i int32, old, n *corev1.Node) {
	if old != nil {
		for k := range old.Status.Images {
			for _, name := range old.Status.Images[k].Names {
				if on := t.images[name]; on != nil {
					delete(on, i)
					if len(on) == 0 {
						delete(t.images, name)
					}
				}
			}
		}
	}
	if n == nil {
		return
	}
	for k := range n.Status.Images {
		for _, name := range n.Status.Images[k].Names {
			if t.images[name] == nil {
				t.images[name] = map[int32]int64{}
			}
			t.images[name][i] = n.Status.Images[k].SizeBytes
		}
	}
}

// imageScores adds to the column what a node gains by having images of the class: the more bytes, and the more nodes have them (so that
// one node that pulled first does not draw all pods), the more.
func (t *Table) imageScores(c *class, column []int32) (some bool) {
	if len(t.images) == 0 || len(c.images) == 0 {
		return false
	}
	var bytes map[int32]int64
	for _, name := range c.images {
		on := t.images[name]
		if bytes == nil && len(on) > 0 {
			bytes = make(map[int32]int64, len(on))
		}
		for i, size := range on {
			bytes[i] += size * int64(len(on)) / int64(max(t.present, 1))
		}
	}
	most := int64(c.containers) * imageBytesMax
	for i, n := range bytes {
		n = min(max(n, imageBytesMin), most)
		column[i] += int32((n - imageBytesMin) * scoreMax * weightImage / (most - imageBytesMin))
	}
	return len(bytes) > 0
}
