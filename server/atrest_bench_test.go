package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/server/keyring"
)

// BenchmarkSecretWrite writes a Secret of 1 KiB through the log of a lone server, one after the other, and prints the processor time of each.
func BenchmarkSecretWrite(b *testing.B) {
	for _, sealed := range []bool{false, true} {
		b.Run(fmt.Sprintf("sealed=%v", sealed), func(b *testing.B) {
			c, state := loneConsensus(b, sealed)
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s", UID: types.UID("u")}, Data: map[string][]byte{"v": make([]byte, 1024)}}
			p := newProposer(c, nil, state.WaitIndex)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			before := processorSeconds()
			for b.Loop() {
				if _, err := p.Propose(ctx, &ops.Put{Resource: secretsResource, Object: secret, Expect: ops.Any}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((processorSeconds()-before)*1e6/float64(b.N), "cpu-us/op")
			cancel()
			<-ended
		})
	}
}

func loneConsensus(b *testing.B, sealed bool) (*consensus, *fsm.FSM) {
	state, root := fsm.New(), keyring.NewRoot()
	v := &vault{state: state}
	v.root.Store(root)
	dir := filepath.Join(b.TempDir(), "a")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	c, err := openConsensus(consensusConfig{name: "a", dir: dir, bootstrap: true, state: state, vault: v, layer: listenLonely(b), logger: hclog.NewNullLogger()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.close() })
	eventually(b, "it leads", func() error { return c.verify() })
	if sealed {
		ring, err := keyring.NewRing(root, metav1.Now().Time, true)
		if err != nil {
			b.Fatal(err)
		}
		entry, err := ops.Encode([]ops.Op{&ops.PutMeta{Key: metaKeyring, Value: ring.Encode()}})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Apply(entry, proposeTimeout).Error(); err != nil {
			b.Fatal(err)
		}
	}
	return c, state
}

func processorSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
