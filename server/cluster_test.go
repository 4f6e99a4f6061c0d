package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/liveness"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/server/audit"
)

// noGossip has heard of nobody.
type noGossip struct{}

func (noGossip) State(string) liveness.State { return liveness.Unknown }

// testServer is a server on loopback that can be stopped and started again.
type testServer struct {
	t      *testing.T
	name   string
	dir    string
	rpc    string
	api    string
	token  string
	audit  audit.Config
	join   []string
	server *Server
	stop   func()
}

func newTestServer(t *testing.T, name string) *testServer {
	return &testServer{t: t, name: name, dir: filepath.Join(t.TempDir(), name)}
}

func (s *testServer) start() {
	s.t.Helper()
	listen := func(at *string) net.Listener {
		l, err := net.Listener(nil), errors.New("no port yet")
		if *at != "" {
			l, err = net.Listen("tcp", *at)
		}
		for *at == "" && err != nil { // not one of the kernel's own choice: it could be somebody's by the time this server starts again
			l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)))
		}
		if err != nil {
			s.t.Fatal(err)
		}
		*at = l.Addr().String()
		return l
	}
	cfg := Config{Name: s.name, DataDir: s.dir, RPC: listen(&s.rpc), API: listen(&s.api), Network: DefaultNetwork(), Fencing: fence.Default(), Logger: hclog.NewNullLogger(), Audit: s.audit}
	cfg.AdvertiseRPC, cfg.AdvertiseAPI = s.rpc, s.api
	passport, err := s.passport(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.server, err = Open(cfg, passport, noGossip{}); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.server.Run(ctx); err != nil {
			s.t.Errorf("%s: %v", s.name, err)
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	s.t.Cleanup(s.stop)
}

// passport founds or joins a cluster, or finds what it did before.
func (s *testServer) passport(cfg Config) (*Passport, error) {
	if s.join == nil {
		return Found(cfg)
	}
	if have, err := LoadPassport(cfg.DataDir); have != nil || err != nil {
		return have, err
	}
	p, err := JoinCluster(context.Background(), s.join, s.token, pki.Peer{Role: pki.RoleServer, Name: s.name}, cfg.AdvertiseRPC)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, err
	}
	return p, p.Save(cfg.DataDir)
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func (s *testServer) client() kubernetes.Interface {
	s.t.Helper()
	if err := s.server.WaitReady(within(s.t, 20*time.Second)); err != nil {
		s.t.Fatal(err)
	}
	k, err := s.server.AdminKubeconfig("admin", []string{"system:masters"})
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := k.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.QPS = -1
	return kubernetes.NewForConfigOrDie(cfg)
}

// newCluster3 starts three servers that are all voters.
func newCluster3(t *testing.T) []*testServer {
	t.Helper()
	all := []*testServer{newTestServer(t, "a"), newTestServer(t, "b"), newTestServer(t, "c")}
	all[0].start()
	if err := all[0].server.WaitReady(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	token, err := all[0].server.CreateToken(within(t, 10*time.Second), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all[1:] {
		s.join, s.token = []string{all[0].rpc}, token
		s.start()
	}
	eventually(t, "all three vote and know the state", func() error {
		for _, s := range all {
			members, err := s.server.consensus.members()
			if err != nil || len(members) != 3 {
				return fmt.Errorf("%s sees members %v, %v", s.name, members, err)
			}
			if err := s.server.Ready(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	})
	return all
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	eventuallyIn(t, 30*time.Second, what, check)
}

func eventuallyIn(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func leaderOf(t *testing.T, all []*testServer) (leader *testServer, others []*testServer) {
	t.Helper()
	eventually(t, "somebody leads", func() error {
		leader, others = nil, nil
		for _, s := range all {
			if s.server.leads() {
				leader = s
			} else {
				others = append(others, s)
			}
		}
		if leader == nil {
			return ErrNoLeader
		}
		return nil
	})
	return leader, others
}

func writeMap(t *testing.T, c kubernetes.Interface, name string) {
	t.Helper()
	_, err := c.CoreV1().ConfigMaps("default").Create(within(t, 20*time.Second),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("writing %s: %v", name, err)
	}
}

func readMap(t *testing.T, c kubernetes.Interface, name string) {
	t.Helper()
	if _, err := c.CoreV1().ConfigMaps("default").Get(within(t, 20*time.Second), name, metav1.GetOptions{}); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
}

// Invariant 10: a read on any server sees every write acknowledged by any other.
func TestEveryServerReadsEveryWrite(t *testing.T) {
	all := newCluster3(t)
	var clients []kubernetes.Interface
	for _, s := range all {
		clients = append(clients, s.client())
	}
	for i := range 30 {
		name := fmt.Sprintf("m-%d", i)
		writeMap(t, clients[i%3], name)
		readMap(t, clients[(i+1)%3], name)
		readMap(t, clients[(i+2)%3], name)
	}
}

// Invariant 11: nothing acknowledged is lost when the leader goes, and the others go on.
func TestLeaderGoes(t *testing.T) {
	all := newCluster3(t)
	leader, others := leaderOf(t, all)
	c := others[0].client()
	for i := range 10 {
		writeMap(t, c, fmt.Sprintf("before-%d", i))
	}
	leader.stop()
	for i := range 10 {
		writeMap(t, c, fmt.Sprintf("after-%d", i))
	}
	leader.start()
	back := leader.client()
	for i := range 10 {
		readMap(t, back, fmt.Sprintf("before-%d", i))
		readMap(t, back, fmt.Sprintf("after-%d", i))
	}
}

// Invariant 12: a minority can neither write nor read linearizably; healed, it goes on.
func TestMinorityIsReadOnlyAtBest(t *testing.T) {
	all := newCluster3(t)
	leader, others := leaderOf(t, all)
	others[0].stop()
	others[1].stop()
	eventually(t, "the leader steps down", func() error {
		if leader.server.consensus.Leading() {
			return fmt.Errorf("it still leads")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := leader.server.store.Barrier(ctx); err == nil {
		t.Error("a minority confirmed a linearizable read")
	}
	others[0].start()
	writeMap(t, leader.client(), "healed")
}

// Invariant 11, for all servers at once: what was acknowledged is on disk.
func TestAllServersStopAndStart(t *testing.T) {
	all := newCluster3(t)
	for i := range 10 {
		writeMap(t, all[0].client(), fmt.Sprintf("kept-%d", i))
	}
	for _, s := range all {
		s.stop()
	}
	for _, s := range all {
		s.start()
	}
	for i := range 10 {
		readMap(t, all[2].client(), fmt.Sprintf("kept-%d", i))
	}
}

// TestOnlyTheFounderCanBeElected: Invariant 11. The server that founded the cluster joined nobody, so nobody told it where the others are but the log; and here only
// it can be elected, since its log is ahead, before any of that log is applied again.
func TestOnlyTheFounderCanBeElected(t *testing.T) {
	all := newCluster3(t)
	founder, others := all[0], all[1:]
	writeMap(t, founder.client(), "before")
	eventually(t, "the founder leads", func() error {
		if leader, _ := leaderOf(t, all); leader != founder {
			_ = leader.server.consensus.raft.LeadershipTransferToServer("a", "a").Error()
			return fmt.Errorf("%s leads", leader.name)
		}
		return nil
	})
	for _, s := range others {
		s.stop()
	}
	founder.server.consensus.raft.Apply(nudge, time.Second) // stays in its log only
	eventually(t, "the entry is on disk", func() error {
		if last := founder.server.consensus.raft.LastIndex(); last <= founder.server.consensus.raft.CommitIndex() {
			return fmt.Errorf("the last entry, %d, is committed", last)
		}
		return nil
	})
	founder.stop()
	for _, s := range all {
		s.start()
	}
	readMap(t, others[1].client(), "before")
}

// A server that is stopped while it is starting leaves its ports to the next.
func TestStopWhileStarting(t *testing.T) {
	s := newTestServer(t, "a")
	for range 3 {
		s.start()
		s.stop()
	}
	s.start()
	if err := s.server.WaitReady(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// TestWrongTokenIsRefused: Invariant 15.
func TestWrongTokenIsRefused(t *testing.T) {
	first := newTestServer(t, "a")
	first.start()
	if err := first.server.WaitReady(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	ca, err := first.server.meta.ca()
	if err != nil {
		t.Fatal(err)
	}
	_, err = JoinCluster(within(t, 10*time.Second), []string{first.rpc}, pki.NewToken(ca).String(), pki.Peer{Role: pki.RoleNode, Name: "n"}, "")
	if err == nil {
		t.Fatal("an invented token was accepted")
	}
	t.Log(err)
}

// Namespaces that every cluster has are there, with what the controllers put into them. NW001, NW002, NW042: so is the service of the API, among
// those of all namespaces, with each server in its endpoints.
func TestGenesis(t *testing.T) {
	s := newTestServer(t, "a")
	s.start()
	c := s.client()
	eventually(t, "the system namespaces are complete", func() error {
		for _, ns := range systemNamespaces {
			if _, err := c.CoreV1().Namespaces().Get(within(t, 10*time.Second), ns, metav1.GetOptions{}); err != nil {
				return err
			}
			if _, err := c.CoreV1().ServiceAccounts(ns).Get(within(t, 10*time.Second), "default", metav1.GetOptions{}); err != nil {
				return err
			}
		}
		return apiIsListed(within(t, 10*time.Second), c)
	})
}

func apiIsListed(ctx context.Context, c kubernetes.Interface) error {
	all, err := c.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil || len(all.Items) != 1 || all.Items[0].Name != "kubernetes" || all.Items[0].Spec.Ports[0].Name != "https" {
		return fmt.Errorf("the services are %+v, %v", all, err)
	}
	endpoints, err := c.CoreV1().Endpoints("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || len(endpoints.Subsets) != 1 || len(endpoints.Subsets[0].Addresses) != 1 || endpoints.Subsets[0].Ports[0].Name != "https" {
		return fmt.Errorf("its endpoints are %+v, %v", endpoints, err)
	}
	parts, err := c.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
	if err != nil || len(parts.Items) != 1 || len(parts.Items[0].Endpoints) != 1 || parts.Items[0].Endpoints[0].Addresses[0] != endpoints.Subsets[0].Addresses[0].IP {
		return fmt.Errorf("its slices are %+v, %v", parts, err)
	}
	return nil
}

// A token lets in through every server as soon as it is made, also through one that has yet to apply it, and no other does.
func TestNewTokenIsGoodEverywhere(t *testing.T) {
	leader, others := leaderOf(t, newCluster3(t))
	for i := range 20 {
		token, err := leader.server.CreateToken(within(t, 10*time.Second), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		self := pki.Peer{Role: pki.RoleNode, Name: fmt.Sprintf("n%d", i)}
		through := []string{others[i%2].rpc}
		if _, err := JoinCluster(within(t, 10*time.Second), through, token, self, ""); err != nil {
			t.Fatalf("token %d: %v", i, err)
		}
		if err := leader.server.RevokeToken(within(t, 10*time.Second), strings.Split(token, ".")[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := JoinCluster(within(t, 10*time.Second), []string{leader.rpc}, token, self, ""); rpc.CodeOf(err) != rpc.CodeDenied {
			t.Fatalf("token %d lets in after it was revoked: %v", i, err)
		}
	}
}
