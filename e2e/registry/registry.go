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
	"maps"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Address is the host's address that the registry listens on.
const Address = "10.203.77.1"

// Registry serves images until it is closed.
type Registry struct {
	URL    string // stands in for docker.io
	GCR    string // stands in for k8s.gcr.io
	Tokens string // the same images for who has a token; stands in for tokens.example

	servers []*http.Server
	serving sync.WaitGroup
	address bool // we have given the host the address
}

// Start makes the images and serves them.
func Start() (*Registry, error) {
	r := &Registry{}
	out, err := exec.Command("ip", "address", "add", Address+"/32", "dev", "lo").CombinedOutput()
	r.address = err == nil // else another test's registry has it, and takes it away
	if err != nil && !strings.Contains(string(out), "exists") && !strings.Contains(string(out), "already assigned") {
		return nil, fmt.Errorf("giving the host the address %s: %w: %s", Address, err, out)
	}
	open := &control{inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))), mu: &sync.Mutex{}, counts: map[string]int{}, faults: &[]Fault{}}
	guarded := *open
	guarded.token = true
	if r.URL, err = r.serve(open); err == nil {
		r.Tokens, err = r.serve(&guarded)
	}
	r.GCR = r.URL
	back := "" // where nothing is guarded or counted
	if err == nil {
		back, err = r.serve(open.inner)
	}
	if err == nil {
		err = r.fill(strings.TrimPrefix(back, "http://"))
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// serve listens at a port of its own.
func (r *Registry) serve(handler http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(Address, "0"))
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	r.servers = append(r.servers, s)
	r.serving.Go(func() { _ = s.Serve(l) }) // ends with Close
	return "http://" + l.Addr().String(), nil
}

// Close stops the registry and takes its address from the host.
func (r *Registry) Close() error {
	for _, s := range r.servers {
		s.Close()
	}
	r.serving.Wait()
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
	odd, indexes, err := oddImages(images["library/busybox:latest"])
	if err != nil {
		return fmt.Errorf("making odd images: %w", err)
	}
	maps.Copy(images, odd)
	for ref, img := range images {
		if err := push(host, ref, img); err != nil {
			return fmt.Errorf("pushing %s: %w", ref, err)
		}
	}
	for ref, index := range indexes {
		tag, err := name.NewTag(host+"/"+ref, name.Insecure)
		if err == nil {
			err = remote.WriteIndex(tag, index)
		}
		if err != nil {
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
