package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/peapod-sh/peapod/agent/supervisor"
)

// visor is the supervisor, started anew if it has died.
type visor struct {
	dir    string
	client *supervisor.Client

	mu     sync.Mutex
	revive func(*supervisor.Client) error // hands the new supervisor what the old one held
}

func newVisor(dir string) (*visor, error) {
	if err := supervisor.Start(dir); err != nil {
		return nil, err
	}
	c, err := supervisor.Dial(dir)
	if err != nil {
		return nil, err
	}
	if err := renew(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &visor{dir: dir, client: c}, nil
}

// renew makes a supervisor of an earlier release, which has outlived its agent, go on as this binary's: it would not
// understand how a command is to be confined.
func renew(c *supervisor.Client) error {
	h, err := c.Hello()
	if err != nil || h.Version >= supervisor.Version {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program for the supervisor: %w", err)
	}
	return c.Upgrade(context.Background(), self)
}

func (v *visor) close() error { return v.client.Close() }
func (v *visor) ready() error { return v.client.Ready() }

// gone tells whether a request failed because nobody was there to hear it.
func gone(err error) bool {
	var refused *supervisor.Error
	return err != nil && !errors.As(err, &refused) &&
		(errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTCONN) ||
			errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// do makes a request, and once more after a new supervisor has been given the old one's charge.
func (v *visor) do(request func(c *supervisor.Client) error) error {
	err := request(v.client)
	if !gone(err) {
		return err
	}
	if err := v.replace(); err != nil {
		return err
	}
	return request(v.client)
}

func (v *visor) replace() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, err := v.client.Hello(); err == nil {
		return nil // somebody else has done it
	}
	if err := supervisor.Start(v.dir); err != nil {
		return err
	}
	if v.revive == nil {
		return nil
	}
	return v.revive(v.client)
}

func (v *visor) log(id string, s supervisor.Stream, path string, from *os.File) error {
	return v.do(func(c *supervisor.Client) error { return c.Log(id, s, path, from) })
}
