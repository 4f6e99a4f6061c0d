package adminsock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"time"
)

// Name of the socket in its data directory.
const Name = "admin.sock"

const (
	headerTimeout  = 10 * time.Second
	errorBytesMax  = 64 << 10
	socketPathMax  = 107 // of sockaddr_un
	shutdownBudget = time.Second
)

// Serve answers on path until ctx ends. Profiles are at /debug/pprof/.
func Serve(ctx context.Context, path string, routes *http.ServeMux) error {
	if len(path) > socketPathMax {
		return fmt.Errorf("the path %s is too long for a socket: choose a shorter data directory", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the old admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("opening the admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("protecting the admin socket: %w", err)
	}
	routes.HandleFunc("/debug/pprof/", pprof.Index)
	routes.HandleFunc("/debug/pprof/profile", pprof.Profile)
	routes.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Handler: routes, ReadHeaderTimeout: headerTimeout}
	stopped := make(chan struct{})
	defer func() { <-stopped }()
	go func() {
		defer close(stopped)
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.Background(), shutdownBudget)
		defer cancel()
		if srv.Shutdown(closing) != nil {
			_ = srv.Close()
		}
	}()
	if err := srv.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serving the admin socket: %w", err)
	}
	return ctx.Err()
}

// Reply writes v as JSON, or err as a sentence with status 400.
func Reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a reader that has gone needs no answer
}

// Call sends a request to the socket at path and decodes the JSON answer into out, or copies it if
// out is an io.Writer. Nil body and out are nothing.
func Call(ctx context.Context, path, method, url string, body io.Reader, out any) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://peapod"+url, body)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return explain(path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, errorBytesMax))
		return errors.New(strings.TrimSpace(string(text)))
	}
	switch o := out.(type) {
	case nil:
		return nil
	case io.Writer:
		_, err = io.Copy(o, resp.Body)
	default:
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	return err
}

func explain(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may be opened by root only: run this as root (or with sudo)", path)
	case errors.Is(err, fs.ErrNotExist), strings.Contains(err.Error(), "connection refused"):
		return fmt.Errorf("no agent answers at %s: is it running on this machine, and is --data-dir right?", path)
	}
	return err
}
