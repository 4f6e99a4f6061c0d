package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/image"
)

func TestExcess(t *testing.T) {
	c := ImagesConfig{}.WithDefaults()
	for _, tt := range []struct{ capacity, available, want int64 }{
		{1000, 500, 0}, {1000, 160, 0}, {1000, 159, 41}, {1000, 150, 50}, {1000, 0, 200}, {0, 0, 0},
	} {
		if got := c.excess(tt.capacity, tt.available); got != tt.want {
			t.Errorf("%d of %d are available: %d to be freed, want %d", tt.available, tt.capacity, got, tt.want)
		}
	}
	if got := (ImagesConfig{HighPercent: 100}).WithDefaults().excess(1000, 0); got != 0 {
		t.Errorf("never, and yet %d", got)
	}
}

func TestImagesConfigIsChecked(t *testing.T) {
	good := []ImagesConfig{{}, {Serialize: true, ParallelMax: 1}, {HighPercent: 50}, {MaxAge: time.Hour}}
	bad := []ImagesConfig{{HighPercent: 101}, {LowPercent: 90}, {Serialize: true, ParallelMax: 2}, {ParallelMax: -1}, {MaxAge: time.Minute}, {LowPercent: -1}}
	for _, c := range good {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range bad {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

func TestUsedImages(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers:      []corev1.Container{{Image: "init:1"}},
		Containers:          []corev1.Container{{Image: "main:1"}},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Image: "debug:1"}}},
		Volumes:             []corev1.Volume{{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "data:1"}}}},
	}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{ImageID: "main@sha256:1"}, {}}}}
	if got, want := usedImages([]*corev1.Pod{p}), []string{"init:1", "main:1", "debug:1", "data:1", "main@sha256:1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestImageList(t *testing.T) {
	var all []*image.Image
	for i := range imagesShown + 10 {
		all = append(all, &image.Image{Size: int64(i), Names: []string{fmt.Sprint("a:", i), fmt.Sprint("a@sha256:", i), "b:1", "b:2", "b:3", "b:4"}})
	}
	got := imageList(all)
	if len(got) != imagesShown || got[0].SizeBytes != imagesShown+9 || got[0].Names[0] != fmt.Sprint("a@sha256:", imagesShown+9) || len(got[0].Names) != namesShown {
		t.Errorf("%d images, the first is %+v", len(got), got[0])
	}
}

func TestLayersAddress(t *testing.T) {
	node := func(annotation, ip string, ready corev1.ConditionStatus) *corev1.Node {
		o := &corev1.Node{}
		o.Annotations = map[string]string{layersAnnotation: annotation}
		o.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}
		o.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		return o
	}
	if at, ok := layersAddress(node("10.0.0.1:7442", "10.0.0.1", corev1.ConditionTrue)); !ok || at != "10.0.0.1:7442" {
		t.Errorf("%q %v", at, ok)
	}
	for name, o := range map[string]*corev1.Node{
		"dead": node("10.0.0.1:7442", "10.0.0.1", corev1.ConditionUnknown), "none": node("", "10.0.0.1", corev1.ConditionTrue),
		"elsewhere": node("10.9.9.9:22", "10.0.0.1", corev1.ConditionTrue),
	} {
		if at, ok := layersAddress(o); ok {
			t.Errorf("%s: %s", name, at)
		}
	}
}
