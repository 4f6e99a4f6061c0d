package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

const (
	etcdMembers     = 3
	etcdConnections = 100
)

// etcd is a cluster of etcd in this process, without TLS and with fsync: what the API of Kubernetes would
// stand on elsewhere.
type etcd struct {
	dir     string
	members []*embed.Etcd
}

func startEtcd(ctx context.Context, dir string) (e *etcd, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	e = &etcd{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	configs, err := etcdConfigs(dir)
	if err != nil {
		return nil, err
	}
	for _, c := range configs {
		m, err := embed.StartEtcd(c)
		if err != nil {
			return nil, fmt.Errorf("starting etcd: %w", err)
		}
		e.members = append(e.members, m)
	}
	for _, m := range e.members {
		select {
		case <-m.Server.ReadyNotify():
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for etcd: %w", ctx.Err())
		}
	}
	return e, nil
}

func (e *etcd) close() error {
	for _, m := range e.members {
		m.Close()
	}
	return os.RemoveAll(e.dir)
}

// etcdConfigs are etcd's defaults but for names, addresses and silence.
func etcdConfigs(dir string) ([]*embed.Config, error) {
	var out []*embed.Config
	var members []string
	for i := range etcdMembers {
		peer, err := freeURL()
		if err != nil {
			return nil, err
		}
		client, err := freeURL()
		if err != nil {
			return nil, err
		}
		c := embed.NewConfig()
		c.Name = fmt.Sprintf("etcd%d", i)
		c.Dir = filepath.Join(dir, c.Name)
		c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
		c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		members = append(members, c.Name+"="+peer.String())
		out = append(out, c)
	}
	for _, c := range out {
		c.InitialCluster = strings.Join(members, ",")
	}
	return out, nil
}

// freeURL names a port that nobody listens on now.
func freeURL() (*url.URL, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return url.Parse("http://" + l.Addr().String())
}

// put has clients put values of 1 KiB under new keys. As in etcd's own benchmarks, they share connections if they are many.
func (e *etcd) put(clients int, d time.Duration) (r rate, err error) {
	leader := e.leader()
	conns := make([]*clientv3.Client, min(clients, etcdConnections))
	for i := range conns {
		if conns[i], err = clientv3.New(clientv3.Config{Endpoints: []string{leader}, Logger: zap.NewNop()}); err != nil {
			return r, err
		}
		defer conns[i].Close()
		if _, err = conns[i].Get(context.Background(), "connect"); err != nil {
			return r, err
		}
	}
	value := strings.Repeat("x", entryBytes)
	run, cpu := time.Now().UnixNano(), ownCPU()
	r.perSecond, r.p50, err = hammer(clients, d, func(c, i int) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := conns[c%len(conns)].Put(ctx, fmt.Sprintf("/registry/configmaps/default/w-%d-%d-%d", run, c, i), value)
		return err
	})
	r.cpu = float64((ownCPU() - cpu).Microseconds()) / (r.perSecond * d.Seconds())
	return r, err
}

// leader is where the leading member serves clients.
func (e *etcd) leader() string {
	for _, m := range e.members {
		if m.Server.Leader() == m.Server.MemberID() {
			return m.Config().ListenClientUrls[0].String()
		}
	}
	return e.members[0].Config().ListenClientUrls[0].String()
}
