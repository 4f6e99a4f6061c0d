package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/server/audit"
)

// TestFullDiskOfAuditIsSaidAndHurtsNobody: with no room for a single event, requests are answered as ever, and the doctor says what is lost.
func TestFullDiskOfAuditIsSaidAndHurtsNobody(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTestServer(t, "a")
	s.audit = audit.Config{Policy: policy, File: "/dev/full", BytesMax: 1 << 20, Kept: 1, Logger: hclog.NewNullLogger()}
	s.start()
	client := s.client()
	for n := range 50 {
		writeMap(t, client, fmt.Sprint("map-", n))
	}
	eventually(t, "the doctor speaks of it", func() error {
		all := s.server.examine(within(t, 20*time.Second))
		for _, c := range all {
			if c.What == "audit" && strings.Contains(c.Fault, "were lost") && s.server.audit.Lost() >= 50 {
				return nil
			}
		}
		return fmt.Errorf("it says %v", all)
	})
}
