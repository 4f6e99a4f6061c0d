package node

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/services"
)

// healthPorts answers load balancers outside the cluster that ask, on a service's health check node port, whether this node has
// endpoints of it. It belongs to whoever swaps tables.
type healthPorts struct {
	log  hclog.Logger
	open map[uint16]*healthPort
}

// healthPort is one such port, open.
type healthPort struct {
	now    atomic.Pointer[services.HealthCheck]
	server *http.Server
	ended  chan struct{} // closed when it no longer serves
}

func newHealthPorts(log hclog.Logger) *healthPorts {
	return &healthPorts{log: log, open: map[uint16]*healthPort{}}
}

// follow opens and closes ports. One that cannot be opened is tried again with the next table.
func (h *healthPorts) follow(list []services.HealthCheck) {
	wanted := map[uint16]bool{}
	for i := range list {
		c := &list[i]
		wanted[c.Port] = true
		if p := h.open[c.Port]; p != nil {
			p.now.Store(c)
			continue
		}
		p, err := openHealthPort(c)
		if err != nil {
			h.log.Warn("a health check node port cannot be opened", "namespace", c.Namespace, "service", c.Name, "error", err)
			continue
		}
		h.open[c.Port] = p
	}
	for number, p := range h.open {
		if !wanted[number] {
			delete(h.open, number)
			p.close()
		}
	}
}

func openHealthPort(c *services.HealthCheck) (*healthPort, error) {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(int(c.Port)))
	if err != nil {
		return nil, err
	}
	p := &healthPort{ended: make(chan struct{})}
	p.now.Store(c)
	p.server = &http.Server{Handler: p, ReadTimeout: healthTimeout, WriteTimeout: healthTimeout}
	go func() {
		defer close(p.ended)
		_ = p.server.Serve(l) // which only ends when it is closed
	}()
	return p, nil
}

// healthTimeout bounds what a client may cost that does not come to an end.
const healthTimeout = 10 * time.Second

func (p *healthPort) close() {
	_ = p.server.Close()
	<-p.ended
}

// ServeHTTP answers as kube-proxy does: 503 without endpoints, and in words how many there are.
func (p *healthPort) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c := p.now.Load()
	type name struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(c.LocalEndpoints))
	if c.LocalEndpoints == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(struct {
		Service             name `json:"service"`
		LocalEndpoints      int  `json:"localEndpoints"`
		ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
	}{name{c.Namespace, c.Name}, c.LocalEndpoints, true})
}
