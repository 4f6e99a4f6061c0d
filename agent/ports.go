package agent

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

// ControlPlane is the cluster as an agent sees it.
type ControlPlane interface {
	// Get reads one object as protobuf. Resource is a group resource ("configmaps").
	Get(ctx context.Context, resource, namespace, name string) (obj []byte, found bool, err error)
	// Write proposes changes; an error means that none is known to have been applied. A row that
	// failed because its pod is gone or another one is no error. ops.ErrRefused says that to try again is useless.
	Write(ctx context.Context, list []ops.Op) error
}

// TokenSource is implemented by a ControlPlane that can issue service account tokens. Without it,
// serviceAccountToken projections are left out.
type TokenSource interface {
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token []byte, err error)
}

// Images has images ready on this node.
type Images interface {
	// Ensure returns the image, pulling it if the policy asks for that; it calls pulling just before
	// it turns to a registry. PullSecrets are the .dockerconfigjson documents of the pod.
	// Errors that should be shown with a reason of their own are *ImageError.
	Ensure(ctx context.Context, ref string, policy corev1.PullPolicy, pullSecrets [][]byte, pulling func()) (*Image, error)
	// Lookup finds an image that is here, whoever may use it; false if it is not.
	Lookup(ref string) (*Image, bool)
	// GC removes images that no pod names and no container uses, the longest unused first, until bytesToFree
	// are freed or none is left that may go. It returns how many bytes it freed.
	GC(ctx context.Context, bytesToFree int64) (freed int64, err error)
}

// Image is one image, unpacked.
type Image struct {
	Ref                          string // as shown in container statuses' image
	ID                           string // as shown in their imageID: NAME@sha256:...
	Layers                       []string
	Handle                       string // what an executor that keeps the images itself calls it; Layers is nil then
	Env                          []string
	Entrypoint, Cmd              []string
	WorkingDir, User, StopSignal string
	// ResolveUser looks a USER ("", "name", "uid", "uid:gid") up in the image's passwd and group files.
	ResolveUser func(user string) (uid, gid uint32, groups []uint32, err error)
	// Pulled is set when this Ensure asked a registry, with how long that took, how long it waited for its turn
	// before, and the image's size in bytes.
	Pulled             bool
	PullTime, WaitTime time.Duration
	Size               int64
}

// Reasons of ImageError, as Kubernetes shows them in a waiting container.
const (
	ReasonErrImagePull        = "ErrImagePull"
	ReasonRegistryUnavailable = "RegistryUnavailable"
	ReasonImagePullBackOff    = "ImagePullBackOff"
	ReasonErrImageNeverPull   = "ErrImageNeverPull"
	ReasonInvalidImageName    = "InvalidImageName"
)

// ImageError says why an image is not there.
type ImageError struct {
	Ref     string // of a volume's image; "" is the container's own
	Reason  string // one of the reasons above
	Message string
}

func (e *ImageError) Error() string { return e.Message }

// Network gives pods their addresses, one of each of the cluster's families, the primary one first. Attach is idempotent: a pod that has
// addresses keeps them.
type Network interface {
	Attach(ctx context.Context, podUID, netns string) ([]netip.Addr, error)
	// Shape limits what an attached pod receives (ingress) and sends (egress), in bits a second; 0 is no limit.
	Shape(ctx context.Context, podUID, netns string, ingress, egress uint64) error
	Detach(ctx context.Context, podUID string) error
}
