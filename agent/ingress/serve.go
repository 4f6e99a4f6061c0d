package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// gate is a switch that can be waited for.
type gate struct {
	mu      *sync.Mutex
	on      bool
	changed chan struct{} // closed and replaced with each change
}

func newGate() gate { return gate{mu: &sync.Mutex{}, changed: make(chan struct{})} }

func (g *gate) set(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.on != on {
		g.on = on
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

// wait returns when the gate is as wanted, or with ctx's error.
func (g *gate) wait(ctx context.Context, on bool) error {
	for {
		g.mu.Lock()
		is, changed := g.on, g.changed
		g.mu.Unlock()
		if is == on {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run serves until ctx ends. A port is open while there is an ingress to serve; one that is taken is tried again and again.
func (p *Proxy) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, port := range []struct {
		number int
		secure bool
	}{{p.cfg.HTTPPort, false}, {p.cfg.HTTPSPort, true}} {
		if port.number != 0 {
			for _, a := range p.cfg.Addresses {
				g.Go(func() error { return p.keepOpen(ctx, netip.AddrPortFrom(a, uint16(port.number)), port.secure) })
			}
		}
	}
	return g.Wait()
}

func (p *Proxy) keepOpen(ctx context.Context, at netip.AddrPort, secure bool) error {
	var told bool
	for ctx.Err() == nil {
		if err := p.used.wait(ctx, true); err != nil {
			return err
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
		if err == nil {
			p.log.Info("serving ingresses", "address", at)
			told = false
			p.serve(ctx, netutil.LimitListener(l, clientsMax), secure)
			continue
		}
		if !told {
			p.log.Warn("cannot serve ingresses at this port; will try again", "address", at, "error", err)
			told = true
		}
		select {
		case <-time.After(openPause):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// serve answers at a listener until no ingress is left or ctx ends. Requests under way have some time then.
func (p *Proxy) serve(ctx context.Context, l net.Listener, secure bool) {
	srv := &http.Server{Handler: p, ReadHeaderTimeout: headerTimeout, IdleTimeout: clientIdle, MaxHeaderBytes: headerBytesMax,
		Protocols: &http.Protocols{},
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.certificate},
		ErrorLog:  p.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true) // clients of gRPC without TLS begin with it
	var g errgroup.Group
	g.Go(func() error {
		if secure {
			return srv.ServeTLS(l, "", "")
		}
		return srv.Serve(l)
	})
	grace := closeGrace
	if p.used.wait(ctx, false) != nil {
		grace = leaveGrace
	}
	patience, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if srv.Shutdown(patience) != nil {
		_ = srv.Close()
	}
	if err := g.Wait(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		p.log.Warn("serving ingresses has ended", "error", err)
	}
}
