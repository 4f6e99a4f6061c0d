package node

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/netproxy"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// filled sets every field that a kept table could lose on its way to the disk and back.
func filled(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.7")
		return
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("192.0.2.7:80")
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("192.0.2.0/24")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				filled(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		filled(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem())
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int8:
		v.SetInt(1)
	case reflect.Uint64, reflect.Uint16, reflect.Uint8, reflect.Uint32:
		v.SetUint(1)
	}
}

// What is kept comes back whole, the last of several writes, also when the agent ends at once.
func TestKeptComesBack(t *testing.T) {
	dir := t.TempDir()
	k := newKeeping(dir, hclog.NewNullLogger())
	if got := k.load(); got != nil {
		t.Fatalf("%+v is kept of nothing", got)
	}
	want := &kept{}
	filled(reflect.ValueOf(want).Elem())
	if want.Table.Allow != nil || len(want.Table.Services) != 1 || len(want.Table.Services[0].Ports[0].Endpoints) != 1 {
		t.Fatalf("the test fills too little: %+v", want.Table)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = k.run(ctx) })
	k.put(&kept{Registered: &wire.Registered{}, Table: &netproxy.Table{}})
	k.put(&kept{Registered: &wire.Registered{}, Table: &netproxy.Table{}})
	k.put(want)
	cancel()
	running.Wait()
	if got := newKeeping(dir, hclog.NewNullLogger()).load(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// TestKeptTablesAreCarriedWithoutPolicies: Invariant 153.
func TestKeptTablesAreCarriedWithoutPolicies(t *testing.T) {
	table := &netproxy.Table{}
	if (&kept{Table: table}).carried() != table || (&kept{Table: table, Guarded: true}).carried() != nil {
		t.Error("a table is carried from memory if, and only if, there were no policies")
	}
}

// An agent needs a server when what was kept is torn or of nothing.
func TestKeptInPiecesIsNothing(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "{", "{}", `{"Registered":{}}`, `{"Table":{"Services":[{"Name":7}]},"Registered":{}}`} {
		if err := os.WriteFile(filepath.Join(dir, "cluster.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := newKeeping(dir, hclog.NewNullLogger()).load(); got != nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}
