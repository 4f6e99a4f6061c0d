// Package registry is an OCI registry for the tests, with images made of what Debian has: nginx, redis,
// busybox. It stands in for docker.io and k8s.gcr.io, which tests cannot reach, under the names that the
// mission's manifests use.
//
// It listens on an address of its own on the host's loopback interface. The lab's nodes have a default
// route to the host, so they reach it whatever network the lab gets.
package registry

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"strings"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Address is the host's address that the registry listens on.
const Address = "10.203.77.1"

// Registry serves images until it is closed.
type Registry struct {
	URL string // stands in for docker.io
	GCR string // stands in for k8s.gcr.io

	server  *http.Server
	done    chan error
	address bool // we have given the host the address
}

// Start makes the images and serves them.
func Start() (*Registry, error) {
	r := &Registry{done: make(chan error, 1)}
	out, err := exec.Command("ip", "address", "add", Address+"/32", "dev", "lo").CombinedOutput()
	r.address = err == nil // else another test's registry has it, and takes it away
	if err != nil && !strings.Contains(string(out), "exists") && !strings.Contains(string(out), "already assigned") {
		return nil, fmt.Errorf("giving the host the address %s: %w: %s", Address, err, out)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(Address, "0"))
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.URL = "http://" + l.Addr().String()
	r.GCR = r.URL
	r.server = &http.Server{Handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	go func() { r.done <- r.server.Serve(l) }()
	if err := r.fill(l.Addr().String()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close stops the registry and takes its address from the host.
func (r *Registry) Close() error {
	if r.server != nil {
		r.server.Close()
		<-r.done
	}
	if r.address {
		return exec.Command("ip", "address", "del", Address+"/32", "dev", "lo").Run()
	}
	return nil
}

func (r *Registry) fill(host string) error {
	images, err := Images()
	if err != nil {
		return fmt.Errorf("making images: %w", err)
	}
	for ref, img := range images {
		if err := push(host, ref, img); err != nil {
			return fmt.Errorf("pushing %s: %w", ref, err)
		}
	}
	return nil
}

func push(host, ref string, img v1.Image) error {
	tag, err := name.NewTag(host+"/"+ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(tag, img)
}
