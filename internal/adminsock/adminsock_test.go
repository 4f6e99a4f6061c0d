package adminsock

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func serve(t *testing.T, routes *http.ServeMux) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), Name)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := Serve(ctx, path, routes); !errors.Is(err, context.Canceled) {
			t.Errorf("serving ended with %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if st, err := os.Stat(path); err == nil && st.Mode().Perm() == 0o600 {
			return path
		}
	}
	t.Fatal("the socket never came, or others may open it")
	return ""
}

func TestCall(t *testing.T) {
	m := http.NewServeMux()
	m.HandleFunc("GET /good", func(w http.ResponseWriter, _ *http.Request) { Reply(w, []int{1, 2}, nil) })
	m.HandleFunc("GET /bad", func(w http.ResponseWriter, _ *http.Request) { Reply(w, nil, errors.New("it is so")) })
	path := serve(t, m)
	var got []int
	if err := Call(context.Background(), path, http.MethodGet, "/good", nil, &got); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if err := Call(context.Background(), path, http.MethodGet, "/bad", nil, nil); err == nil || err.Error() != "it is so" {
		t.Errorf("error %v", err)
	}
	var text bytes.Buffer
	if err := Call(context.Background(), path, http.MethodGet, "/good", nil, &text); err != nil || text.String() != "[1,2]\n" {
		t.Errorf("%q, %v", text.String(), err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	err := Call(context.Background(), filepath.Join(t.TempDir(), "none"), http.MethodGet, "/", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "is it running on this machine") {
		t.Errorf("error %v", err)
	}
	if err := Serve(context.Background(), "/"+strings.Repeat("x", 200), http.NewServeMux()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
}
