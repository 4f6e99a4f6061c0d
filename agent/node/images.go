package node

import (
	"context"
	"errors"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/image"
)

// imageSource shows the image store to the agent in the agent's words.
type imageSource struct{ store *image.Store }

var _ agent.Images = imageSource{}

// Ensure follows the pull policy. A policy of Always asks the registry even if the image is here.
func (s imageSource) Ensure(ctx context.Context, ref string, policy corev1.PullPolicy, secrets [][]byte, pulling func()) (*agent.Image, error) {
	have, ok := s.store.Get(ref)
	switch {
	case ok && policy != corev1.PullAlways:
		return view(ref, have), nil
	case !ok && policy == corev1.PullNever:
		return nil, &agent.ImageError{Reason: agent.ReasonErrImageNeverPull, Message: `Container image "` + ref + `" is not present with pull policy of Never`}
	}
	pulling()
	began := time.Now()
	var auths []authn.Authenticator
	for _, doc := range secrets {
		// A secret that cannot be read is as good as none: the registry will say what it misses.
		if found, err := image.Credentials(ref, doc); err == nil {
			auths = append(auths, found...)
		}
	}
	pulled, err := s.store.Pull(ctx, ref, auths, nil)
	if err != nil {
		return nil, imageError(err)
	}
	out := view(ref, pulled)
	out.Pulled, out.PullTime = true, time.Since(began)
	return out, nil
}

func imageError(err error) error {
	reason := agent.ReasonErrImagePull
	if errors.Is(err, image.ErrReference) {
		reason = agent.ReasonInvalidImageName
	}
	return &agent.ImageError{Reason: reason, Message: err.Error()}
}

func view(ref string, i *image.Image) *agent.Image {
	return &agent.Image{Ref: ref, ID: i.RepoDigest(), Layers: i.Layers, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd,
		WorkingDir: i.WorkingDir, User: i.User, StopSignal: i.StopSignal, ResolveUser: i.ResolveUser, Size: i.Size}
}
