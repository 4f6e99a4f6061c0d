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
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// network is where a registry finds an address of its own: two test runs at once must not take one another's away.
const network = "10.203.77."

// Registry serves images until it is closed.
type Registry struct {
	URL    string // stands in for docker.io
	GCR    string // stands in for k8s.gcr.io
	Tokens string // the same images for who has a token; stands in for tokens.example

	servers []*http.Server
	serving sync.WaitGroup
	address string // that we have given the host
}

// Start makes the images and serves them.
func Start() (*Registry, error) {
	r := &Registry{}
	if err := r.takeAddress(); err != nil {
		return nil, err
	}
	var err error
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

// takeAddress gives the host an address that it does not have.
func (r *Registry) takeAddress() error {
	for tries := range 254 {
		address := network + strconv.Itoa(1+(os.Getpid()+tries)%254)
		out, err := exec.Command("ip", "address", "add", address+"/32", "dev", "lo").CombinedOutput()
		if err == nil {
			r.address = address
			return nil
		}
		if !strings.Contains(string(out), "exists") && !strings.Contains(string(out), "already assigned") {
			return fmt.Errorf("giving the host the address %s: %w: %s", address, err, out)
		}
	}
	return fmt.Errorf("all addresses of %s0/24 are taken: remove those that tests have left on lo", network)
}

// serve listens at a port of its own.
func (r *Registry) serve(handler http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(r.address, "0"))
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
	if r.address != "" {
		return exec.Command("ip", "address", "del", r.address+"/32", "dev", "lo").Run()
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
