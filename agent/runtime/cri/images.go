package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Images are those that the runtime keeps.
type Images struct{ client cri.ImageServiceClient }

// Image is one of them. What a container of it runs by default is there only when it was asked for by Get.
type Image struct {
	ID              string   // sha256:..., of its configuration
	Names           []string // with a tag
	Digests         []string // NAME@sha256:...
	Size            int64
	Pinned          bool // the runtime needs it itself
	Env             []string
	Entrypoint, Cmd []string
	WorkingDir      string
	User            string
	StopSignal      string
}

// Get finds an image by a full reference or its ID; nil if it is not there.
func (s *Images) Get(ctx context.Context, ref string) (*Image, error) {
	r, err := s.client.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}, Verbose: true})
	if err != nil {
		return nil, fmt.Errorf("asking the container runtime for image %s: %w", ref, err)
	}
	if r.Image == nil {
		return nil, nil
	}
	i := view(r.Image)
	return i, i.configure(r.Info["info"])
}

func view(i *cri.Image) *Image {
	return &Image{ID: i.Id, Names: i.RepoTags, Digests: i.RepoDigests, Size: int64(i.Size), Pinned: i.Pinned}
}

// configure reads the image's configuration from a verbose status: containerd and CRI-O both tell it there.
func (i *Image) configure(info string) error {
	var v struct {
		ImageSpec *struct {
			Config struct {
				Env, Entrypoint, Cmd         []string
				WorkingDir, User, StopSignal string
			} `json:"config"`
		} `json:"imageSpec"`
	}
	if err := json.Unmarshal([]byte(info), &v); err != nil || v.ImageSpec == nil {
		return errors.Join(fmt.Errorf("the runtime does not tell what image %s runs (verbose status): its version is not supported", i.ID), err)
	}
	c := v.ImageSpec.Config
	i.Env, i.Entrypoint, i.Cmd, i.WorkingDir, i.User, i.StopSignal = c.Env, c.Entrypoint, c.Cmd, c.WorkingDir, c.User, c.StopSignal
	return nil
}

// Credentials for a registry; the zero value is none.
type Credentials struct{ Username, Password, Auth, IdentityToken, RegistryToken string }

// Pull has the runtime pull a full reference and returns the name by which containers are made of it.
func (s *Images) Pull(ctx context.Context, ref string, c Credentials) (string, error) {
	req := &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}}
	if c != (Credentials{}) {
		req.Auth = &cri.AuthConfig{Username: c.Username, Password: c.Password, Auth: c.Auth, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
	}
	r, err := s.client.PullImage(ctx, req)
	if err != nil {
		return "", err
	}
	return r.ImageRef, nil
}

// List tells of all, without what they run.
func (s *Images) List(ctx context.Context) ([]*Image, error) {
	r, err := s.client.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing the container runtime's images: %w", err)
	}
	out := make([]*Image, 0, len(r.Images))
	for _, i := range r.Images {
		out = append(out, view(i))
	}
	return out, nil
}

// Remove removes an image with all its names. One that is not there is no error.
func (s *Images) Remove(ctx context.Context, id string) error {
	_, err := s.client.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: id}})
	if err != nil && !absent(err) {
		return fmt.Errorf("removing image %s: %w", id, err)
	}
	return nil
}

// Dir is a directory on the disk where the runtime keeps images.
func (s *Images) Dir(ctx context.Context) (string, error) {
	r, err := s.client.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
	if err != nil {
		return "", fmt.Errorf("asking the container runtime where images are: %w", err)
	}
	for _, f := range r.ImageFilesystems {
		if m := f.GetFsId().GetMountpoint(); m != "" {
			return m, nil
		}
	}
	return "", errors.New("the container runtime does not tell where images are")
}

// ImagesInUse are the images of all containers that the runtime holds, also of those that are not ours, and of its
// sandboxes: IDs and names.
func (e *Executor) ImagesInUse(ctx context.Context) ([]string, error) {
	r, err := e.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing the container runtime's containers: %w", err)
	}
	var out []string
	for _, c := range r.Containers {
		out = append(out, c.ImageRef, c.GetImage().GetImage())
	}
	if e.told.sandboxImage != "" {
		out = append(out, e.told.sandboxImage)
	}
	return out, nil
}
